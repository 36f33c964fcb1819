//! Where our topics differ from Debezium's on purpose, each with its reason; docs/from-debezium.md has the
//! same list for people.

use serde_json::{Value as Json, json};

use crate::records::Record;

/// One difference.
pub(crate) struct Known {
    /// `schema.table`; `*` is every table.
    table: &'static str,
    what: What,
    /// Why; printed by nobody, read by whoever meets it here.
    #[allow(dead_code, reason = "for the reader")]
    reason: &'static str,
}

/// What differs.
enum What {
    /// A column that Debezium publishes and we do not.
    OnlyTheirs(&'static str),
    /// Debezium publishes NULL for a large value that an update did not touch; ours says that it is not known.
    UntouchedIsNull,
    /// Debezium publishes the DEFAULT of a column in the place of NULL, and of a large value that it does not have.
    NullIsDefault(&'static str),
    /// A value that Debezium writes as another one.
    Value(&'static str, &'static str),
    /// How the schema describes a column.
    Schema(&'static str),
}

/// Every difference that is known.
pub(crate) const KNOWN: &[Known] = &[
    Known {
        table: "dbo.computed",
        what: What::OnlyTheirs("twice"),
        reason: "change tables hold no value for a computed column: Debezium publishes NULL as if it were one",
    },
    Known {
        table: "*",
        what: What::UntouchedIsNull,
        reason: "Debezium 3.6.1 publishes NULL, by which a sink loses the value (its dbz#1164)",
    },
    Known {
        table: "dbo.types",
        what: What::Value("c_datetimeoffset", "0000-12-30T00:00:00Z"),
        reason: "Debezium takes a day of the Julian calendar for one of the Gregorian: 0001-01-01 is two days off",
    },
    Known {
        table: "dbo.types",
        what: What::Schema("c_numeric38_38"),
        reason: "numeric is another name of decimal, and ours says DECIMAL for both",
    },
    Known { table: "dbo.defaults", what: What::NullIsDefault("b"), reason: LOST_NULL },
    Known { table: "dbo.defaults", what: What::NullIsDefault("f"), reason: LOST_NULL },
    Known { table: "dbo.defaults", what: What::NullIsDefault("h"), reason: LOST_NULL },
    Known { table: "dbo.defaults", what: What::NullIsDefault("j"), reason: LOST_NULL },
    Known { table: "dbo.defaults", what: What::NullIsDefault("l"), reason: LOST_NULL },
    Known { table: "dbo.defaults", what: What::NullIsDefault("n"), reason: LOST_NULL },
    Known { table: "dbo.defaults", what: What::NullIsDefault("p"), reason: LOST_NULL },
    Known {
        table: "dbo.defaults",
        what: What::Schema("l"),
        reason: "Debezium leaves the doubled quote of a T-SQL literal in the text",
    },
    Known { table: "dbo.odd_defaults", what: What::NullIsDefault("q"), reason: LOST_NULL },
    Known { table: "dbo.odd_defaults", what: What::NullIsDefault("t"), reason: LOST_NULL },
    Known { table: "dbo.odd_defaults", what: What::NullIsDefault("u"), reason: LOST_NULL },
    Known { table: "dbo.odd_defaults", what: What::NullIsDefault("v"), reason: LOST_NULL },
    Known {
        table: "dbo.odd_defaults",
        what: What::Schema("n"),
        reason: "the empty text is not what suser_sname() gives",
    },
];

/// What differs besides when decimals are texts.
pub(crate) const DECIMALS_AS_TEXT: &[Known] = &[
    Known { table: "dbo.defaults", what: What::Schema("g"), reason: AS_IN_DDL },
    Known { table: "dbo.defaults", what: What::Schema("h"), reason: AS_IN_DDL },
    Known { table: "dbo.defaults", what: What::Schema("i"), reason: AS_IN_DDL },
    Known { table: "dbo.defaults", what: What::Schema("j"), reason: AS_IN_DDL },
];

const AS_IN_DDL: &str = "Debezium's default has the digits of its definition, 1.5; ours those of the column, 1.50, as its values have";
const LOST_NULL: &str =
    "in Connect a NULL of a column with a default is read as the default: the NULL is lost";

const PLACEHOLDER: &str = "__debezium_unavailable_value";

fn of<'a>(known: &'a [&'a [Known]], table: &'a str) -> impl Iterator<Item = &'a What> {
    known
        .iter()
        .copied()
        .flatten()
        .filter(move |k| k.table == "*" || k.table == table)
        .map(|k| &k.what)
}

/// Makes the records equal where they are known to differ.
pub(crate) fn records(known: &[&[Known]], table: &str, our: &[Record], their: &mut [Record]) {
    for what in of(known, table) {
        for (our, their) in our.iter().zip(their.iter_mut()) {
            for image in ["before", "after"] {
                let ours = our.value.get(image).and_then(Json::as_object);
                let theirs = their.value.get_mut(image).and_then(Json::as_object_mut);
                let (Some(ours), Some(theirs)) = (ours, theirs) else { continue };
                match what {
                    What::OnlyTheirs(column) => {
                        theirs.shift_remove(*column);
                    }
                    What::UntouchedIsNull => {
                        for (column, value) in theirs.iter_mut().filter(|(_, v)| v.is_null()) {
                            if let Some(ours) = ours.get(column).filter(|v| is_placeholder(v)) {
                                *value = ours.clone();
                            }
                        }
                    }
                    What::NullIsDefault(column) => {
                        let lost = ours.get(*column).filter(|v| v.is_null() || is_placeholder(v));
                        if let (Some(ours), Some(value)) = (lost, theirs.get_mut(*column)) {
                            *value = ours.clone();
                        }
                    }
                    What::Value(column, wrong) => {
                        if let (Some(ours), Some(value)) =
                            (ours.get(*column), theirs.get_mut(*column))
                            && value == wrong
                        {
                            *value = ours.clone();
                        }
                    }
                    What::Schema(_) => {}
                }
            }
        }
    }
}

/// The placeholder as text or as bytes.
fn is_placeholder(value: &Json) -> bool {
    *value == PLACEHOLDER || *value == json!(PLACEHOLDER.as_bytes())
}

/// Makes the schemas equal where they are known to differ.
pub(crate) fn schemas(known: &[&[Known]], table: &str, our: &[Json], their: &mut [Json]) {
    const ROW: &str = "/fields/0/type/1/fields";
    for what in of(known, table) {
        for (our, their) in our.iter().zip(their.iter_mut()) {
            let Some(theirs) = their.pointer_mut(ROW).and_then(Json::as_array_mut) else {
                continue;
            };
            match what {
                What::OnlyTheirs(column) => theirs.retain(|field| field["name"] != *column),
                What::Schema(column) => {
                    let ours = our.pointer(ROW).and_then(Json::as_array);
                    let ours = ours.into_iter().flatten().find(|field| field["name"] == *column);
                    let field = theirs.iter_mut().find(|field| field["name"] == *column);
                    if let (Some(ours), Some(field)) = (ours, field) {
                        *field = ours.clone();
                    }
                }
                What::UntouchedIsNull | What::NullIsDefault(_) | What::Value(..) => {}
            }
        }
    }
}
