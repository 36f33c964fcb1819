//! T-SQL as the executor sees it.

use std::sync::Arc;

use crate::value::{Op, Typed};

/// A batch: its text and its statements.
#[derive(Debug)]
pub struct Batch {
    pub text: Arc<str>,
    pub statements: Vec<Stmt>,
}

/// A statement, where it begins, and its text.
#[derive(Debug)]
pub struct Stmt {
    pub line: u32,
    pub text: Arc<str>,
    pub kind: StmtKind,
}

/// `a.b.c`; empty parts (`a..b`) are empty strings.
pub type Name = Vec<String>;

/// A type as written: `decimal(10, 2)`; `base` is its first word or words.
#[derive(Clone, Debug, PartialEq)]
pub struct TypeName {
    pub text: String,
    pub base: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cmp {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Expr {
    Lit(Typed),
    /// `@x`, `@@x`
    Var(String),
    Column(Name),
    /// `(SELECT ...)` as a value
    Subquery(Box<Query>),
    Negate(Box<Self>),
    BitNot(Box<Self>),
    Arith(Op, Box<Self>, Box<Self>),
    Case {
        operand: Option<Box<Self>>,
        whens: Vec<(Self, Self)>,
        otherwise: Option<Box<Self>>,
    },
    /// CAST, CONVERT and their TRY forms.
    Cast {
        value: Box<Self>,
        ty: TypeName,
        style: Option<Box<Self>>,
        tries: bool,
    },
    Collate(Box<Self>, String),
    AtTimeZone(Box<Self>, Box<Self>),
    Call(Box<Call>),
    /// DEFAULT in VALUES and SET.
    Default,
    // Conditions.
    Compare(Cmp, Box<Self>, Box<Self>),
    /// `a > ALL (SELECT ...)`
    Quantified {
        op: Cmp,
        all: bool,
        left: Box<Self>,
        query: Box<Query>,
    },
    And(Box<Self>, Box<Self>),
    Or(Box<Self>, Box<Self>),
    Not(Box<Self>),
    IsNull(Box<Self>, bool),
    /// `IS [NOT] DISTINCT FROM`; the flag: NOT
    Distinct(Box<Self>, Box<Self>, bool),
    Between {
        value: Box<Self>,
        low: Box<Self>,
        high: Box<Self>,
        not: bool,
    },
    In {
        value: Box<Self>,
        list: Vec<Self>,
        not: bool,
    },
    InQuery {
        value: Box<Self>,
        query: Box<Query>,
        not: bool,
    },
    Like {
        value: Box<Self>,
        pattern: Box<Self>,
        escape: Option<Box<Self>>,
        not: bool,
    },
    Exists(Box<Query>),
}

impl Expr {
    /// Whether this is a condition and not a value.
    pub fn is_condition(&self) -> bool {
        match self {
            Self::Lit(_)
            | Self::Var(_)
            | Self::Column(_)
            | Self::Subquery(_)
            | Self::Negate(_)
            | Self::BitNot(_)
            | Self::Arith(..)
            | Self::Case { .. }
            | Self::Cast { .. }
            | Self::Collate(..)
            | Self::AtTimeZone(..)
            | Self::Call(_)
            | Self::Default => false,
            Self::Compare(..)
            | Self::Quantified { .. }
            | Self::And(..)
            | Self::Or(..)
            | Self::Not(_)
            | Self::IsNull(..)
            | Self::Distinct(..)
            | Self::Between { .. }
            | Self::In { .. }
            | Self::InQuery { .. }
            | Self::Like { .. }
            | Self::Exists(_) => true,
        }
    }
}

/// A function call.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    pub name: Name,
    pub args: Vec<Expr>,
    /// `COUNT(*)`
    pub star: bool,
    pub distinct: bool,
    pub over: Option<Over>,
    /// WITHIN GROUP (ORDER BY ...)
    pub within: Vec<OrderItem>,
    pub ignore_nulls: bool,
}

#[derive(Clone, Debug, PartialEq, Default)]
pub struct Over {
    pub partition: Vec<Expr>,
    pub order: Vec<OrderItem>,
    pub frame: Option<Frame>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Frame {
    pub rows: bool,
    pub from: Edge,
    pub to: Edge,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edge {
    First,
    Before(u64),
    Current,
    After(u64),
    Last,
}

#[derive(Clone, Debug, PartialEq)]
pub struct OrderItem {
    pub expr: Expr,
    pub descending: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Cte {
    pub name: String,
    pub columns: Vec<String>,
    pub query: Query,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Query {
    pub ctes: Arc<Vec<Cte>>,
    pub body: SetExpr,
    pub order: Vec<OrderItem>,
    pub offset: Option<Expr>,
    pub fetch: Option<Expr>,
    /// FOR XML PATH('x'): the element name.
    pub xml_path: Option<String>,
    pub max_recursion: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetOp {
    Union,
    Except,
    Intersect,
}

#[derive(Clone, Debug, PartialEq)]
pub enum SetExpr {
    Select(Box<Select>),
    Query(Box<Query>),
    Values(Vec<Vec<Expr>>),
    Op { op: SetOp, all: bool, left: Box<Self>, right: Box<Self> },
}

#[derive(Clone, Debug, PartialEq)]
pub struct Top {
    pub count: Expr,
    pub percent: bool,
    pub ties: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub enum SelectItem {
    /// `*`, `t.*`
    Star(Name),
    Expr {
        expr: Expr,
        alias: Option<String>,
    },
    /// `@x = expr`, `@x += expr`
    Assign {
        var: String,
        op: Option<Op>,
        expr: Expr,
    },
}

#[derive(Clone, Debug, PartialEq)]
pub struct Select {
    pub line: u32,
    pub distinct: bool,
    pub top: Option<Top>,
    pub items: Vec<SelectItem>,
    pub into: Option<Name>,
    pub from: Vec<TableRef>,
    pub condition: Option<Expr>,
    pub group: Vec<Expr>,
    pub having: Option<Expr>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JoinKind {
    Inner,
    Left,
    Right,
    Full,
    Cross,
}

#[derive(Clone, Debug, PartialEq, Default)]
pub struct Hints {
    pub names: Vec<String>,
    /// INDEX(name or number)
    pub index: Option<String>,
}

impl Hints {
    pub fn has(&self, name: &str) -> bool {
        self.names.iter().any(|n| n == name)
    }
}

#[derive(Clone, Debug, PartialEq)]
pub enum TableRef {
    Named {
        name: Name,
        alias: Option<String>,
        hints: Hints,
    },
    /// `@t`
    Variable {
        name: String,
        alias: Option<String>,
    },
    Function {
        name: Name,
        args: Vec<Expr>,
        alias: Option<String>,
        columns: Vec<String>,
    },
    Derived {
        query: Box<Query>,
        alias: String,
        columns: Vec<String>,
    },
    Join {
        left: Box<Self>,
        kind: JoinKind,
        right: Box<Self>,
        on: Option<Expr>,
    },
    /// CROSS APPLY, OUTER APPLY
    Apply {
        left: Box<Self>,
        right: Box<Self>,
        outer: bool,
    },
}

#[derive(Clone, Debug, PartialEq)]
pub enum Assign {
    /// `column op= expr`; `qualifier` of the column if any
    Column { name: Name, op: Option<Op>, expr: Expr },
    /// `@v op= expr`
    Var { name: String, op: Option<Op>, expr: Expr },
    /// `@v = column = expr`
    Both { var: String, column: Name, expr: Expr },
}

impl Assign {
    /// Whether it reads no column.
    pub fn is_constant(&self) -> bool {
        let Self::Column { op: None, expr, .. } = self else { return false };
        matches!(expr, Expr::Lit(_) | Expr::Var(_) | Expr::Default)
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct OutputClause {
    pub items: Vec<SelectItem>,
    pub into: Option<(TableRef, Vec<String>)>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum InsertSource {
    Query(Box<Query>),
    Default,
    Exec(Box<Exec>),
    /// INSERT BULK: the rows come in a message of their own.
    Bulk(Bulk),
}

/// The types and options of INSERT BULK.
#[derive(Clone, Debug, PartialEq)]
pub struct Bulk {
    pub types: Vec<TypeName>,
    pub check_constraints: bool,
    pub fire_triggers: bool,
    /// NULLs stay; else a column's default takes their place.
    pub keep_nulls: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Insert {
    pub ctes: Arc<Vec<Cte>>,
    pub top: Option<Top>,
    pub target: TableRef,
    pub columns: Vec<String>,
    pub output: Option<OutputClause>,
    pub source: InsertSource,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Update {
    pub ctes: Arc<Vec<Cte>>,
    pub top: Option<Top>,
    pub target: TableRef,
    pub set: Vec<Assign>,
    pub output: Option<OutputClause>,
    pub from: Vec<TableRef>,
    pub condition: Option<Expr>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Delete {
    pub ctes: Arc<Vec<Cte>>,
    pub top: Option<Top>,
    pub target: TableRef,
    pub output: Option<OutputClause>,
    pub from: Vec<TableRef>,
    pub condition: Option<Expr>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MergeWhen {
    Matched,
    NotMatchedByTarget,
    NotMatchedBySource,
}

#[derive(Clone, Debug, PartialEq)]
pub enum MergeAction {
    Update(Vec<Assign>),
    Delete,
    Insert { columns: Vec<String>, values: Option<Vec<Expr>> },
}

#[derive(Clone, Debug, PartialEq)]
pub struct Merge {
    pub ctes: Arc<Vec<Cte>>,
    pub target: TableRef,
    pub source: TableRef,
    pub on: Expr,
    pub clauses: Vec<(MergeWhen, Option<Expr>, MergeAction)>,
    pub output: Option<OutputClause>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct ExecArg {
    pub name: Option<String>,
    pub value: Expr,
    pub output: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Exec {
    Procedure {
        status: Option<String>,
        name: Name,
        args: Vec<ExecArg>,
    },
    /// EXEC('text' + @x)
    Text(Expr),
    /// EXEC @name args
    Variable {
        status: Option<String>,
        name: String,
        args: Vec<ExecArg>,
    },
}

#[derive(Clone, Debug, PartialEq)]
pub struct KeySpec {
    pub name: Option<String>,
    pub primary: bool,
    pub clustered: Option<bool>,
    /// (column, descending)
    pub columns: Vec<(String, bool)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefAction {
    NoAction,
    Cascade,
    SetNull,
    SetDefault,
}

#[derive(Clone, Debug, PartialEq)]
pub struct ForeignSpec {
    pub name: Option<String>,
    pub columns: Vec<String>,
    pub parent: Name,
    pub parent_columns: Vec<String>,
    pub on_delete: RefAction,
    pub on_update: RefAction,
}

/// An expression with the text that it was parsed from, for definitions.
#[derive(Clone, Debug, PartialEq)]
pub struct TextExpr {
    pub expr: Expr,
    pub text: String,
}

#[derive(Clone, Debug, PartialEq)]
pub enum ConstraintSpec {
    Key(KeySpec),
    Foreign(ForeignSpec),
    Check { name: Option<String>, check: TextExpr, column: Option<String> },
    Default { name: Option<String>, value: TextExpr, column: String, with_values: bool },
}

#[derive(Clone, Debug, PartialEq, Default)]
pub struct ColumnSpec {
    pub name: String,
    pub ty: Option<TypeName>,
    pub nullable: Option<bool>,
    pub identity: Option<(i128, i128)>,
    pub computed: Option<TextExpr>,
    pub persisted: bool,
    pub collation: Option<String>,
    pub sparse: bool,
    pub row_guid: bool,
    pub constraints: Vec<ConstraintSpec>,
    /// GENERATED ALWAYS AS ROW START (true) or END
    pub generated: Option<bool>,
    pub hidden: bool,
}

/// SYSTEM_VERSIONING = ON; the history table's name when one was given.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Versioning {
    pub history: Option<Name>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct IndexSpec {
    pub name: String,
    pub unique: bool,
    pub clustered: bool,
    pub table: Name,
    pub columns: Vec<(String, bool)>,
    pub included: Vec<String>,
    pub filter: Option<TextExpr>,
    pub drop_existing: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub struct TableSpec {
    pub name: Name,
    pub columns: Vec<ColumnSpec>,
    pub constraints: Vec<ConstraintSpec>,
    pub indexes: Vec<IndexSpec>,
    /// PERIOD FOR SYSTEM_TIME (start, end)
    pub period: Option<(String, String)>,
    pub versioning: Option<Versioning>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum AlterTable {
    /// SET (SYSTEM_VERSIONING = ON or OFF)
    Versioning(Option<Versioning>),
    Add {
        columns: Vec<ColumnSpec>,
        constraints: Vec<ConstraintSpec>,
        with_values: bool,
        no_check: bool,
    },
    DropColumns(Vec<String>, bool),
    DropConstraints(Vec<String>, bool),
    AlterColumn(ColumnSpec),
    /// CHECK / NOCHECK CONSTRAINT names (empty: ALL)
    Check {
        enable: bool,
        names: Vec<String>,
        /// WITH CHECK: what is there must keep them.
        verify: bool,
    },
    /// DROP CONSTRAINT a, COLUMN b
    Both(Box<Self>, Box<Self>),
    /// Accepted and without meaning here (SET (LOCK_ESCALATION), REBUILD, ENABLE TRIGGER ...).
    Ignored,
}

#[derive(Clone, Debug, PartialEq)]
pub enum ModuleKind {
    View,
    Procedure {
        params: Vec<ProcParam>,
    },
    Trigger {
        table: Name,
    },
    /// A function: FN, IF or TF.
    Other(&'static str),
}

#[derive(Clone, Debug, PartialEq)]
pub struct ProcParam {
    pub name: String,
    pub ty: TypeName,
    pub default: Option<Expr>,
    pub output: bool,
}

/// What happens to the other sessions when a database changes its state: `WITH ROLLBACK IMMEDIATE`, `WITH NO_WAIT`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Termination {
    Wait,
    Immediate,
    NoWait,
}

#[derive(Clone, Debug, PartialEq)]
pub enum DatabaseOption {
    SnapshotIsolation(bool),
    ReadCommittedSnapshot(bool),
    Recovery(String),
    CompatibilityLevel(u8),
    SingleUser(bool),
    ReadOnly(bool),
    Offline(bool),
    Collate(String),
    Rename(String),
    Other(String, String),
}

#[derive(Clone, Debug, PartialEq)]
pub struct Permission {
    pub permission: String,
    pub object: String,
    pub principals: Vec<String>,
    /// GRANT, DENY, REVOKE
    pub verb: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DropKind {
    Table,
    View,
    Procedure,
    Function,
    Trigger,
    Schema,
    Database,
    Login,
    User,
    Role,
    Type,
    Synonym,
    Sequence,
}

/// The name of a cursor; `GLOBAL c` is not a local one.
#[derive(Clone, Debug, PartialEq)]
pub struct CursorName {
    pub name: String,
    pub global: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Fetch {
    Next,
    Prior,
    First,
    Last,
    Absolute(Box<Expr>),
    Relative(Box<Expr>),
}

/// Statements of cursors.
#[derive(Clone, Debug, PartialEq)]
pub enum Cursor {
    Declare { name: String, global: bool, scroll: bool, query: Box<Query> },
    Open(CursorName),
    Fetch { which: Fetch, name: CursorName, into: Vec<String> },
    Close(CursorName),
    Deallocate(CursorName),
}

#[derive(Debug)]
pub enum StmtKind {
    Cursor(Box<Cursor>),
    Query(Box<Query>),
    Insert(Box<Insert>),
    Update(Box<Update>),
    Delete(Box<Delete>),
    Merge(Box<Merge>),
    Truncate(Name),
    Declare(Vec<(String, TypeName, Option<Expr>)>),
    DeclareTable(String, Box<TableSpec>),
    SetVar {
        name: String,
        op: Option<Op>,
        expr: Expr,
    },
    /// SET option words, folded to upper case; a value may be a variable.
    SetOption(Vec<String>, Option<Expr>),
    IdentityInsert(Name, bool),
    If {
        condition: Expr,
        then: Box<Stmt>,
        otherwise: Option<Box<Stmt>>,
    },
    While {
        condition: Expr,
        body: Box<Stmt>,
    },
    Block(Vec<Stmt>),
    TryCatch {
        tries: Vec<Stmt>,
        catches: Vec<Stmt>,
    },
    Break,
    Continue,
    /// `name:`
    Label(String),
    Goto(String),
    Return(Option<Expr>),
    Print(Expr),
    RaisError {
        message: Expr,
        severity: Expr,
        state: Expr,
        args: Vec<Expr>,
    },
    Throw(Option<(Expr, Expr, Expr)>),
    /// WAITFOR DELAY / TIME
    WaitFor {
        delay: bool,
        time: Expr,
    },
    Exec(Box<Exec>),
    Use(String),
    /// BEGIN TRANSACTION and its name
    Begin(Option<String>),
    Commit,
    Rollback(Option<String>),
    Save(String),
    CreateTable(Box<TableSpec>),
    CreateIndex(Box<IndexSpec>),
    CreateSchema {
        name: String,
        owner: Option<String>,
    },
    CreateDatabase {
        name: String,
        collation: Option<String>,
    },
    CreateModule {
        name: Name,
        kind: ModuleKind,
        alter: bool,
        or_alter: bool,
    },
    CreateLogin {
        name: String,
        password: String,
        database: Option<String>,
    },
    AlterLogin {
        name: String,
        password: Option<String>,
        disable: Option<bool>,
    },
    CreateUser {
        name: String,
        login: Option<String>,
    },
    CreateRole {
        name: String,
    },
    /// Members of sysadmin.
    AlterServerRole {
        member: String,
        add: bool,
    },
    AlterRole {
        name: String,
        member: String,
        add: bool,
    },
    CreateType {
        name: Name,
        ty: TypeName,
        nullable: Option<bool>,
    },
    CreateSynonym {
        name: Name,
        target: Name,
    },
    AlterTable {
        table: Name,
        action: AlterTable,
    },
    AlterDatabase {
        name: Option<String>,
        options: Vec<DatabaseOption>,
        termination: Termination,
    },
    AlterSchema {
        schema: String,
        object: Name,
    },
    Drop {
        kind: DropKind,
        names: Vec<Name>,
        if_exists: bool,
    },
    /// (index, table)
    DropIndex {
        indexes: Vec<(String, Name)>,
        if_exists: bool,
    },
    Permission(Permission),
    /// The option and its words.
    Dbcc {
        command: String,
        args: Vec<Expr>,
        words: Vec<String>,
    },
    Kill(Expr),
    /// CHECKPOINT, UPDATE STATISTICS, RECONFIGURE, ALTER INDEX ... REBUILD
    Ignored,
}
