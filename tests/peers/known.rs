//! Where our topics differ from Debezium's on purpose, each with its reason; docs/from-debezium.md has the
//! same list for people.

use serde_json::Value as Json;

use crate::records::Record;

/// One difference of one table.
pub(crate) struct Known {
    pub(crate) table: &'static str,
    pub(crate) what: What,
    /// Why; printed by nobody, read by whoever meets it here.
    #[allow(dead_code, reason = "for the reader")]
    pub(crate) reason: &'static str,
}

/// What differs.
pub(crate) enum What {
    /// A column that Debezium publishes and we do not.
    OnlyTheirs(&'static str),
    /// A column that we publish and Debezium does not.
    OnlyOurs(&'static str),
    /// The value of a column where Debezium has its placeholder though it is known: ours stands.
    Lost(&'static str),
}

/// Every difference that is known.
pub(crate) const KNOWN: &[Known] = &[
    Known {
        table: "dbo.computed",
        what: What::OnlyTheirs("twice"),
        reason: "change tables hold no value for a computed column: Debezium publishes NULL as if it were one",
    },
    Known {
        table: "dbo.mask",
        what: What::Lost("c2"),
        reason: "Debezium reads the bits of the second byte of a mask in the first: a changed large value is lost (dbz#2650)",
    },
    Known { table: "dbo.mask", what: What::Lost("c10"), reason: "as c2" },
    Known {
        table: "dbo.types",
        what: What::OnlyOurs("c_geometry"),
        reason: "Debezium has no converter for it and leaves the column out",
    },
];

const PLACEHOLDER: &str = "__debezium_unavailable_value";

/// Makes the records equal where they are known to differ.
pub(crate) fn records(known: &[Known], table: &str, our: &mut [Record], their: &mut [Record]) {
    for known in known.iter().filter(|k| k.table == table) {
        match known.what {
            What::OnlyTheirs(column) => their.iter_mut().for_each(|r| leave_out(r, column)),
            What::OnlyOurs(column) => our.iter_mut().for_each(|r| leave_out(r, column)),
            What::Lost(column) => {
                for (our, their) in our.iter().zip(their.iter_mut()) {
                    for image in ["/before", "/after"] {
                        let path = format!("{image}/{column}");
                        let ours = our.value.pointer(&path).cloned();
                        if let (Some(ours), Some(theirs)) = (ours, their.value.pointer_mut(&path))
                            && theirs == PLACEHOLDER
                        {
                            *theirs = ours;
                        }
                    }
                }
            }
        }
    }
}

fn leave_out(record: &mut Record, column: &str) {
    for image in ["/before", "/after"] {
        if let Some(row) = record.value.pointer_mut(image).and_then(Json::as_object_mut) {
            // In order: what follows keeps its place.
            row.shift_remove(column);
        }
    }
}

/// Makes the schemas equal where they are known to differ.
pub(crate) fn schemas(known: &[Known], table: &str, our: &mut [Json], their: &mut [Json]) {
    for known in known.iter().filter(|k| k.table == table) {
        let (side, column) = match known.what {
            What::OnlyTheirs(column) => (&mut *their, column),
            What::OnlyOurs(column) => (&mut *our, column),
            What::Lost(_) => continue,
        };
        for schema in side {
            let row = schema.pointer_mut("/fields/0/type/1/fields");
            if let Some(fields) = row.and_then(Json::as_array_mut) {
                fields.retain(|field| field["name"] != column);
            }
        }
    }
}
