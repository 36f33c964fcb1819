//! SQL Server's errors, with its own numbers, classes and wording, so that clients that match on them
//! can be tested.

/// An error or an informational message (class below 11), as TDS carries it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Msg {number}, Level {class}, State {state}: {message}")]
pub struct SqlError {
    pub number: i32,
    pub class: u8,
    pub state: u8,
    pub message: String,
    /// Line in the batch, from 1.
    pub line: u32,
}

impl SqlError {
    /// Class 16, state 1, line 1: the usual error of a statement.
    pub fn new(number: i32, message: impl Into<String>) -> Self {
        Self { number, class: 16, state: 1, message: message.into(), line: 1 }
    }
    /// An informational message (class 0), as PRINT sends.
    pub fn info(number: i32, message: impl Into<String>) -> Self {
        Self { number, class: 0, state: 1, message: message.into(), line: 1 }
    }
    pub fn class(mut self, class: u8) -> Self {
        self.class = class;
        self
    }
    pub fn state(mut self, state: u8) -> Self {
        self.state = state;
        self
    }
    pub fn at_line(mut self, line: u32) -> Self {
        self.line = line;
        self
    }

    /// The stand-in has no such feature: a clear refusal instead of a wrong answer.
    pub fn unknown(what: impl std::fmt::Display) -> Self {
        Self::new(50999, format!("the stand-in does not know {what}"))
    }
    pub fn syntax(near: &str) -> Self {
        Self::new(102, format!("Incorrect syntax near '{near}'.")).class(15)
    }
    pub fn undeclared(variable: &str) -> Self {
        Self::new(137, format!("Must declare the scalar variable \"{variable}\"."))
            .class(15)
            .state(2)
    }
    pub fn invalid_column(name: &str) -> Self {
        Self::new(207, format!("Invalid column name '{name}'."))
    }
    pub fn invalid_object(name: &str) -> Self {
        Self::new(208, format!("Invalid object name '{name}'."))
    }
    pub fn ambiguous_column(name: &str) -> Self {
        Self::new(209, format!("Ambiguous column name '{name}'."))
    }
    pub fn unknown_type(name: &str) -> Self {
        Self::new(243, format!("Type {name} is not a defined system type."))
    }
    pub fn conversion(kind: &str, value: &str, to: &str) -> Self {
        let m = format!(
            "Conversion failed when converting the {kind} value '{value}' to data type {to}."
        );
        Self::new(245, m)
    }
    pub fn date_syntax() -> Self {
        Self::new(241, "Conversion failed when converting date and/or time from character string.")
    }
    pub fn date_range(from: &str, to: &str) -> Self {
        let m = format!(
            "The conversion of a {from} data type to a {to} data type resulted in an out-of-range value."
        );
        Self::new(242, m).state(3)
    }
    pub fn adding_overflow(ty: &str) -> Self {
        let m = format!("Adding a value to a '{ty}' column caused an overflow.");
        Self::new(517, m)
    }
    pub fn overflow(to: &str) -> Self {
        let m = format!("Arithmetic overflow error converting expression to data type {to}.");
        Self::new(8115, m).state(2)
    }
    pub fn overflow_from(from: &str, to: &str) -> Self {
        let m = format!("Arithmetic overflow error converting {from} to data type {to}.");
        Self::new(8115, m).state(8)
    }
    pub fn overflow_value(from: &str, value: &str, to: &str) -> Self {
        let m = format!("Arithmetic overflow error for data type {to}, value = {value}.");
        let _ = from;
        Self::new(220, m)
    }
    pub fn varchar_to_numeric(from: &str, to: &str) -> Self {
        Self::new(8114, format!("Error converting data type {from} to {to}.")).state(5)
    }
    pub fn guid_syntax() -> Self {
        Self::new(
            8169,
            "Conversion failed when converting from a character string to uniqueidentifier.",
        )
        .state(2)
    }
    pub fn divide_by_zero() -> Self {
        Self::new(8134, "Divide by zero error encountered.")
    }
    pub fn truncated(table: &str, column: &str, value: &str) -> Self {
        let m = format!(
            "String or binary data would be truncated in table '{table}', column '{column}'. \
             Truncated value: '{value}'."
        );
        Self::new(2628, m)
    }
    pub fn truncated_short() -> Self {
        Self::new(8152, "String or binary data would be truncated.").state(30)
    }
    pub fn no_conversion(from: &str, to: &str) -> Self {
        let m = format!("Explicit conversion from data type {from} to {to} is not allowed.");
        Self::new(529, m).state(2)
    }
    pub fn no_implicit(from: &str, to: &str) -> Self {
        let m = format!(
            "Implicit conversion from data type {from} to {to} is not allowed. Use the CONVERT \
             function to run this query."
        );
        Self::new(257, m).state(3)
    }
    pub fn clash(a: &str, b: &str) -> Self {
        Self::new(206, format!("Operand type clash: {a} is incompatible with {b}")).state(2)
    }
    pub fn invalid_operator(ty: &str, operator: &str) -> Self {
        let m = format!("Operand data type {ty} is invalid for {operator} operator.");
        Self::new(8117, m)
    }
    pub fn incompatible(a: &str, b: &str, operator: &str) -> Self {
        let m = format!("The data types {a} and {b} are incompatible in the {operator} operator.");
        Self::new(402, m)
    }
    pub fn invalid_argument(ty: &str, position: usize, function: &str) -> Self {
        let m = format!(
            "Argument data type {ty} is invalid for argument {position} of {function} function."
        );
        Self::new(8116, m)
    }
    pub fn argument_count(function: &str, wanted: usize) -> Self {
        Self::new(174, format!("The {function} function requires {wanted} argument(s).")).class(15)
    }
    pub fn argument_range(function: &str, low: usize, high: usize) -> Self {
        Self::new(189, format!("The {function} function requires {low} to {high} arguments."))
            .class(15)
    }
    pub fn unknown_function(name: &str) -> Self {
        Self::new(195, format!("'{name}' is not a recognized built-in function name."))
            .class(15)
            .state(10)
    }
    pub fn invalid_length(function: &str) -> Self {
        Self::new(537, format!("Invalid length parameter passed to the {function} function."))
            .state(3)
    }
    pub fn null_into(table: &str, column: &str, operation: &str) -> Self {
        let m = format!(
            "Cannot insert the value NULL into column '{column}', table '{table}'; column does not \
             allow nulls. {operation} fails."
        );
        Self::new(515, m).state(2)
    }
    pub fn duplicate_key(constraint: &str, table: &str, key: &str) -> Self {
        let m = format!(
            "Violation of PRIMARY KEY constraint '{constraint}'. Cannot insert duplicate key in \
             object '{table}'. The duplicate key value is ({key})."
        );
        Self::new(2627, m).class(14)
    }
    pub fn duplicate_unique(constraint: &str, table: &str, key: &str) -> Self {
        let m = format!(
            "Violation of UNIQUE KEY constraint '{constraint}'. Cannot insert duplicate key in \
             object '{table}'. The duplicate key value is ({key})."
        );
        Self::new(2627, m).class(14)
    }
    pub fn duplicate_index(index: &str, table: &str, key: &str) -> Self {
        let m = format!(
            "Cannot insert duplicate key row in object '{table}' with unique index '{index}'. The \
             duplicate key value is ({key})."
        );
        Self::new(2601, m).class(14)
    }
    /// `statement` INSERT, UPDATE, DELETE ...; `kind` FOREIGN KEY, REFERENCE, CHECK.
    pub fn constraint(statement: &str, kind: &str, name: &str, db: &str, table: &str) -> Self {
        let m = format!(
            "The {statement} statement conflicted with the {kind} constraint \"{name}\". The conflict \
             occurred in database \"{db}\", table \"{table}\"."
        );
        Self::new(547, m).state(0)
    }
    pub fn deadlock(process: i32) -> Self {
        let m = format!(
            "Transaction (Process ID {process}) was deadlocked on lock resources with another process \
             and has been chosen as the deadlock victim. Rerun the transaction."
        );
        Self::new(1205, m).class(13).state(51)
    }
    pub fn lock_timeout() -> Self {
        Self::new(1222, "Lock request time out period exceeded.").state(51)
    }
    pub fn no_procedure(name: &str) -> Self {
        Self::new(2812, format!("Could not find stored procedure '{name}'.")).state(62)
    }
    pub fn no_object_to_drop(what: &str, name: &str) -> Self {
        let m = format!(
            "Cannot drop the {what} '{name}', because it does not exist or you do not have permission."
        );
        Self::new(3701, m).class(11).state(5)
    }
    pub fn exists(name: &str) -> Self {
        Self::new(2714, format!("There is already an object named '{name}' in the database."))
            .state(6)
    }
    pub fn no_commit() -> Self {
        Self::new(3902, "The COMMIT TRANSACTION request has no corresponding BEGIN TRANSACTION.")
    }
    pub fn no_rollback() -> Self {
        Self::new(3903, "The ROLLBACK TRANSACTION request has no corresponding BEGIN TRANSACTION.")
    }
    pub fn permission(permission: &str, object: &str, db: &str, schema: &str) -> Self {
        let m = format!(
            "The {permission} permission was denied on the object '{object}', database '{db}', \
             schema '{schema}'."
        );
        Self::new(229, m).class(14).state(5)
    }
    pub fn no_database(name: &str) -> Self {
        let m = format!(
            "Database '{name}' does not exist. Make sure that the name is entered correctly."
        );
        Self::new(911, m)
    }
    pub fn login_failed(user: &str) -> Self {
        Self::new(18456, format!("Login failed for user '{user}'.")).class(14)
    }
    pub fn cannot_open_database(db: &str) -> Self {
        let m = format!("Cannot open database \"{db}\" requested by the login. The login failed.");
        Self::new(4060, m).class(11)
    }
}
