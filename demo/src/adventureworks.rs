//! Tables of Microsoft's sample database AdventureWorks, from its CSV files.
//!
//! The files are what `bcp` writes: fields end with a tab (or `+|`), rows with a line end (or
//! `&|` and a line end), an empty field is NULL, and a text may hold line ends. Types, keys and
//! nullability are declared here, after Microsoft's documentation of the database; its computed
//! columns are ordinary columns here, because the files have their values.

use std::{fs, path::Path};

use anyhow::{Context as _, Result, bail};
use causeway_tests::{
    random::Random,
    shop::Step,
    sql::{Inserts, text},
    sqlserver::{Client, exec},
};

/// A table: its name (and its file's), its key, its columns with their types.
struct Table {
    name: &'static str,
    key: &'static str,
    columns: &'static [(&'static str, &'static str)],
    /// A column that the load changes, with the expression of its new value.
    change: (&'static str, &'static str),
    /// `+|` and `&|` in place of tab and line end.
    long_separators: bool,
}

const TABLES: &[Table] = &[
    Table {
        name: "Address",
        key: "AddressID",
        columns: &[
            ("AddressID", "int not null"),
            ("AddressLine1", "nvarchar(60) not null"),
            ("AddressLine2", "nvarchar(60)"),
            ("City", "nvarchar(30) not null"),
            ("StateProvinceID", "int not null"),
            ("PostalCode", "nvarchar(15) not null"),
            ("SpatialLocation", "geography"),
            ("rowguid", "uniqueidentifier not null"),
            ("ModifiedDate", "datetime not null"),
        ],
        change: ("AddressLine2", "N'Door ' + CAST(AddressID AS nvarchar(10))"),
        long_separators: false,
    },
    Table {
        name: "CreditCard",
        key: "CreditCardID",
        columns: &[
            ("CreditCardID", "int not null"),
            ("CardType", "nvarchar(50) not null"),
            ("CardNumber", "nvarchar(25) not null"),
            ("ExpMonth", "tinyint not null"),
            ("ExpYear", "smallint not null"),
            ("ModifiedDate", "datetime not null"),
        ],
        change: ("ExpYear", "ExpYear + 1"),
        long_separators: false,
    },
    Table {
        name: "Currency",
        key: "CurrencyCode",
        columns: &[
            ("CurrencyCode", "nchar(3) not null"),
            ("Name", "nvarchar(50) not null"),
            ("ModifiedDate", "datetime not null"),
        ],
        change: ("ModifiedDate", "GETDATE()"),
        long_separators: false,
    },
    Table {
        name: "CurrencyRate",
        key: "CurrencyRateID",
        columns: &[
            ("CurrencyRateID", "int not null"),
            ("CurrencyRateDate", "datetime not null"),
            ("FromCurrencyCode", "nchar(3) not null"),
            ("ToCurrencyCode", "nchar(3) not null"),
            ("AverageRate", "money not null"),
            ("EndOfDayRate", "money not null"),
            ("ModifiedDate", "datetime not null"),
        ],
        change: ("EndOfDayRate", "EndOfDayRate + 0.0001"),
        long_separators: false,
    },
    Table {
        name: "Customer",
        key: "CustomerID",
        columns: &[
            ("CustomerID", "int not null"),
            ("PersonID", "int"),
            ("StoreID", "int"),
            ("TerritoryID", "int"),
            ("AccountNumber", "varchar(10) not null"),
            ("rowguid", "uniqueidentifier not null"),
            ("ModifiedDate", "datetime not null"),
        ],
        change: ("ModifiedDate", "GETDATE()"),
        long_separators: false,
    },
    Table {
        name: "JobCandidate",
        key: "JobCandidateID",
        columns: &[
            ("JobCandidateID", "int not null"),
            ("BusinessEntityID", "int"),
            ("Resume", "xml"),
            ("ModifiedDate", "datetime not null"),
        ],
        change: ("ModifiedDate", "GETDATE()"),
        long_separators: true,
    },
    Table {
        name: "Product",
        key: "ProductID",
        columns: &[
            ("ProductID", "int not null"),
            ("Name", "nvarchar(50) not null"),
            ("ProductNumber", "nvarchar(25) not null"),
            ("MakeFlag", "bit not null"),
            ("FinishedGoodsFlag", "bit not null"),
            ("Color", "nvarchar(15)"),
            ("SafetyStockLevel", "smallint not null"),
            ("ReorderPoint", "smallint not null"),
            ("StandardCost", "money not null"),
            ("ListPrice", "money not null"),
            ("Size", "nvarchar(5)"),
            ("SizeUnitMeasureCode", "nchar(3)"),
            ("WeightUnitMeasureCode", "nchar(3)"),
            ("Weight", "decimal(8,2)"),
            ("DaysToManufacture", "int not null"),
            ("ProductLine", "nchar(2)"),
            ("Class", "nchar(2)"),
            ("Style", "nchar(2)"),
            ("ProductSubcategoryID", "int"),
            ("ProductModelID", "int"),
            ("SellStartDate", "datetime not null"),
            ("SellEndDate", "datetime"),
            ("DiscontinuedDate", "datetime"),
            ("rowguid", "uniqueidentifier not null"),
            ("ModifiedDate", "datetime not null"),
        ],
        change: ("ListPrice", "ListPrice + 0.01"),
        long_separators: false,
    },
    Table {
        name: "ProductDescription",
        key: "ProductDescriptionID",
        columns: &[
            ("ProductDescriptionID", "int not null"),
            ("Description", "nvarchar(400) not null"),
            ("rowguid", "uniqueidentifier not null"),
            ("ModifiedDate", "datetime not null"),
        ],
        change: ("ModifiedDate", "GETDATE()"),
        long_separators: false,
    },
    Table {
        name: "ProductInventory",
        key: "ProductID, LocationID",
        columns: &[
            ("ProductID", "int not null"),
            ("LocationID", "smallint not null"),
            ("Shelf", "nvarchar(10) not null"),
            ("Bin", "tinyint not null"),
            ("Quantity", "smallint not null"),
            ("rowguid", "uniqueidentifier not null"),
            ("ModifiedDate", "datetime not null"),
        ],
        change: ("Quantity", "32000 - Quantity"),
        long_separators: false,
    },
    Table {
        name: "ProductReview",
        key: "ProductReviewID",
        columns: &[
            ("ProductReviewID", "int not null"),
            ("ProductID", "int not null"),
            ("ReviewerName", "nvarchar(50) not null"),
            ("ReviewDate", "datetime not null"),
            ("EmailAddress", "nvarchar(50) not null"),
            ("Rating", "int not null"),
            ("Comments", "nvarchar(3850)"),
            ("ModifiedDate", "datetime not null"),
        ],
        change: ("Rating", "6 - Rating"),
        long_separators: false,
    },
    Table {
        name: "PurchaseOrderDetail",
        key: "PurchaseOrderID, PurchaseOrderDetailID",
        columns: &[
            ("PurchaseOrderID", "int not null"),
            ("PurchaseOrderDetailID", "int not null"),
            ("DueDate", "datetime not null"),
            ("OrderQty", "smallint not null"),
            ("ProductID", "int not null"),
            ("UnitPrice", "money not null"),
            ("LineTotal", "money not null"),
            ("ReceivedQty", "decimal(8,2) not null"),
            ("RejectedQty", "decimal(8,2) not null"),
            ("StockedQty", "decimal(9,2) not null"),
            ("ModifiedDate", "datetime not null"),
        ],
        change: ("ReceivedQty", "ReceivedQty + 0.25"),
        long_separators: false,
    },
    Table {
        name: "PurchaseOrderHeader",
        key: "PurchaseOrderID",
        columns: &[
            ("PurchaseOrderID", "int not null"),
            ("RevisionNumber", "tinyint not null"),
            ("Status", "tinyint not null"),
            ("EmployeeID", "int not null"),
            ("VendorID", "int not null"),
            ("ShipMethodID", "int not null"),
            ("OrderDate", "datetime not null"),
            ("ShipDate", "datetime"),
            ("SubTotal", "money not null"),
            ("TaxAmt", "money not null"),
            ("Freight", "money not null"),
            ("TotalDue", "money not null"),
            ("ModifiedDate", "datetime not null"),
        ],
        change: ("Status", "5 - Status"),
        long_separators: false,
    },
    Table {
        name: "SalesTerritory",
        key: "TerritoryID",
        columns: &[
            ("TerritoryID", "int not null"),
            ("Name", "nvarchar(50) not null"),
            ("CountryRegionCode", "nvarchar(3) not null"),
            ("Group", "nvarchar(50) not null"),
            ("SalesYTD", "money not null"),
            ("SalesLastYear", "money not null"),
            ("CostYTD", "money not null"),
            ("CostLastYear", "money not null"),
            ("rowguid", "uniqueidentifier not null"),
            ("ModifiedDate", "datetime not null"),
        ],
        change: ("SalesYTD", "SalesYTD + 12.3456"),
        long_separators: false,
    },
    Table {
        name: "SpecialOfferProduct",
        key: "SpecialOfferID, ProductID",
        columns: &[
            ("SpecialOfferID", "int not null"),
            ("ProductID", "int not null"),
            ("rowguid", "uniqueidentifier not null"),
            ("ModifiedDate", "datetime not null"),
        ],
        change: ("SpecialOfferID", "1000 - SpecialOfferID"),
        long_separators: false,
    },
    Table {
        name: "StateProvince",
        key: "StateProvinceID",
        columns: &[
            ("StateProvinceID", "int not null"),
            ("StateProvinceCode", "nchar(3) not null"),
            ("CountryRegionCode", "nvarchar(3) not null"),
            ("IsOnlyStateProvinceFlag", "bit not null"),
            ("Name", "nvarchar(50) not null"),
            ("TerritoryID", "int not null"),
            ("rowguid", "uniqueidentifier not null"),
            ("ModifiedDate", "datetime not null"),
        ],
        change: ("IsOnlyStateProvinceFlag", "1 - IsOnlyStateProvinceFlag"),
        long_separators: false,
    },
    Table {
        name: "UnitMeasure",
        key: "UnitMeasureCode",
        columns: &[
            ("UnitMeasureCode", "nchar(3) not null"),
            ("Name", "nvarchar(50) not null"),
            ("ModifiedDate", "datetime not null"),
        ],
        change: ("ModifiedDate", "GETDATE()"),
        long_separators: false,
    },
    Table {
        name: "Vendor",
        key: "BusinessEntityID",
        columns: &[
            ("BusinessEntityID", "int not null"),
            ("AccountNumber", "nvarchar(15) not null"),
            ("Name", "nvarchar(50) not null"),
            ("CreditRating", "tinyint not null"),
            ("PreferredVendorStatus", "bit not null"),
            ("ActiveFlag", "bit not null"),
            ("PurchasingWebServiceURL", "nvarchar(1024)"),
            ("ModifiedDate", "datetime not null"),
        ],
        change: ("CreditRating", "6 - CreditRating"),
        long_separators: false,
    },
];

/// The names of the tables.
pub(crate) fn names() -> Vec<&'static str> {
    TABLES.iter().map(|table| table.name).collect()
}

/// Makes the tables from the files of `folder`; gives the load and the number of rows.
pub(crate) async fn load(
    client: &mut Client,
    folder: &Path,
    random: Random,
) -> Result<(Load, u64)> {
    let mut rows = 0;
    let mut stock = Vec::new();
    for table in TABLES {
        let columns: Vec<String> =
            table.columns.iter().map(|(name, ty)| format!("  [{name}] {ty}")).collect();
        let keys = bracketed(table.key.split(", "));
        exec(
            client,
            &format!(
                "CREATE TABLE dbo.[{}] (\n{},\n  PRIMARY KEY ({keys}))",
                table.name,
                columns.join(",\n")
            ),
        )
        .await?;
        let path = folder.join(format!("{}.csv", table.name));
        let data = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        let names = bracketed(table.columns.iter().map(|(name, _)| *name));
        let mut inserts = Inserts::new(client, &format!("dbo.[{}]", table.name), &names);
        let mut live = Vec::new();
        for (number, record) in records(&data, table).enumerate() {
            let place = || format!("{}, row {}", path.display(), number + 1);
            let record = record.with_context(place)?;
            let values = literals(&record, table).with_context(place)?;
            inserts.push(&values.join(", ")).await?;
            live.push(values);
        }
        rows += inserts.finish().await?;
        stock.push(Stock { table, live, deleted: Vec::new() });
    }
    Ok((Load { random, stock }, rows))
}

fn bracketed<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.map(|name| format!("[{name}]")).collect::<Vec<_>>().join(", ")
}

/// The rows of a file: each field but the last ends with the field separator, the last one with
/// the row separator, so a text before it may hold line ends.
fn records<'a>(data: &'a str, table: &'a Table) -> impl Iterator<Item = Result<Vec<&'a str>>> + 'a {
    let (field_end, row_end) = if table.long_separators { ("+|", "&|\n") } else { ("\t", "\n") };
    let mut rest = data.trim_start_matches('\u{feff}');
    std::iter::from_fn(move || {
        if rest.trim().is_empty() {
            return None;
        }
        let mut record = Vec::with_capacity(table.columns.len());
        for at in 1..=table.columns.len() {
            let end = if at == table.columns.len() { row_end } else { field_end };
            let (field, after) = match rest.split_once(end) {
                Some(parts) => parts,
                None if at == table.columns.len() => (rest, ""),
                None => {
                    rest = "";
                    return Some(Err(anyhow::anyhow!("the row ends in field {at}")));
                }
            };
            record.push(field);
            rest = after;
        }
        Some(Ok(record))
    })
}

fn literals(record: &[&str], table: &Table) -> Result<Vec<String>> {
    record
        .iter()
        .zip(table.columns)
        .map(|(field, (name, ty))| {
            let field = field.trim_end_matches('\r');
            if field.is_empty() {
                return if ty.ends_with("not null") {
                    bail!("column {name} is empty")
                } else {
                    Ok("NULL".to_owned())
                };
            }
            let base = ty.split(['(', ' ']).next().unwrap_or_default();
            Ok(match base {
                "int" | "smallint" | "tinyint" | "bit" | "money" | "decimal" => field.to_owned(),
                "geography" => format!("0x{field}"),
                "datetime" => format!("'{}'", field.replace(' ', "T")),
                _ => text(field),
            })
        })
        .collect()
}

/// Changes rows of all tables: updates, deletions, the same rows inserted again, changed keys.
pub(crate) struct Load {
    random: Random,
    stock: Vec<Stock>,
}

/// What a table holds, row by row, as literals.
struct Stock {
    table: &'static Table,
    live: Vec<Vec<String>>,
    deleted: Vec<Vec<String>>,
}

impl Load {
    /// The next transaction.
    pub(crate) fn step(&mut self) -> Step {
        match self.random.below(10) {
            0..6 => self.update(1),
            6 => self.update(5),
            7 | 8 => self.delete(),
            _ => self.insert(),
        }
    }

    /// Updates a row in each of `count` tables, in one transaction.
    fn update(&mut self, count: u64) -> Step {
        let mut statements = Vec::new();
        let first = self.random.below(TABLES.len() as u64);
        for table in 0..count {
            // Neighbours in the list: every transaction takes its tables in another order.
            let at = usize::try_from((first + table * 7) % TABLES.len() as u64).unwrap_or(0);
            let Some(stock) = self.stock.get_mut(at) else { continue };
            let row = self.random.below(stock.live.len() as u64);
            let Some(row) = usize::try_from(row).ok().and_then(|at| stock.live.get_mut(at)) else {
                continue;
            };
            let (column, value) = stock.table.change;
            statements.push(format!(
                "UPDATE dbo.[{}] SET [{column}] = {value} WHERE {}",
                stock.table.name,
                condition(stock.table, row)
            ));
            change_key(stock.table, row);
        }
        let rows = statements.len() as u64;
        let sql = match statements.as_slice() {
            [one] => one.clone(),
            many => format!("BEGIN TRANSACTION;\n{};\nCOMMIT TRANSACTION;", many.join(";\n")),
        };
        Step { sql, rows }
    }

    fn delete(&mut self) -> Step {
        let at = self.table();
        // A small table keeps most of its rows.
        let plenty = |stock: &&mut Stock| stock.live.len() > 4 * stock.deleted.len();
        let Some(stock) = self.stock.get_mut(at).filter(plenty) else { return self.update(1) };
        let row = usize::try_from(self.random.below(stock.live.len() as u64)).unwrap_or(0);
        let row = stock.live.swap_remove(row);
        let sql = format!(
            "DELETE FROM dbo.[{}] WHERE {}",
            stock.table.name,
            condition(stock.table, &row)
        );
        stock.deleted.push(row);
        Step { sql, rows: 1 }
    }

    fn insert(&mut self) -> Step {
        let at = self.table();
        let Some(stock) = self.stock.get_mut(at) else { return self.update(1) };
        let Some(row) = stock.deleted.pop() else { return self.delete() };
        let sql = format!(
            "INSERT INTO dbo.[{}] ({}) VALUES ({})",
            stock.table.name,
            bracketed(stock.table.columns.iter().map(|(name, _)| *name)),
            row.join(", ")
        );
        stock.live.push(row);
        Step { sql, rows: 1 }
    }

    fn table(&mut self) -> usize {
        usize::try_from(self.random.below(self.stock.len() as u64)).unwrap_or(0)
    }
}

fn condition(table: &Table, row: &[String]) -> String {
    let of = |key: &str| {
        let at = table.columns.iter().position(|(name, _)| *name == key)?;
        Some(format!("[{key}] = {}", row.get(at)?))
    };
    table.key.split(", ").filter_map(of).collect::<Vec<_>>().join(" AND ")
}

/// Follows a change of a key column, so that the row is found again.
fn change_key(table: &Table, row: &mut [String]) {
    let (changed, _) = table.change;
    if !table.key.split(", ").any(|key| key == changed) {
        return;
    }
    let at = table.columns.iter().position(|(name, _)| *name == changed);
    if let Some(value) = at.and_then(|at| row.get_mut(at))
        && let Ok(number) = value.parse::<i64>()
    {
        *value = (1000 - number).to_string();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(name: &str) -> &'static Table {
        TABLES.iter().find(|table| table.name == name).unwrap()
    }

    #[test]
    fn a_text_may_hold_line_ends_and_an_empty_field_is_null() {
        let data = "1\t7\tAda\t2024-09-17 00:00:00.000\ta@b\t5\tone\n\ntwo\t2024-09-18 00:00:00.000\n\
                    2\t7\tBo\t2024-09-17 00:00:00.000\ta@b\t5\t\t2024-09-18 00:00:00.000\n";
        let rows: Vec<_> = records(data, table("ProductReview")).collect::<Result<_>>().unwrap();
        assert_eq!(rows.len(), 2);
        assert_eq!(rows[0][6], "one\n\ntwo");
        let literals = literals(&rows[1], table("ProductReview")).unwrap();
        assert_eq!(literals[6], "NULL");
        assert_eq!(literals[7], "'2024-09-18T00:00:00.000'");
    }

    #[test]
    fn the_long_separators_are_known() {
        let data = "1+|+|<a>\n</a>+|2007-06-23 00:00:00.000&|\n2+|5+|+|2007-06-23 00:00:00.000&|\n";
        let rows: Vec<_> = records(data, table("JobCandidate")).collect::<Result<_>>().unwrap();
        assert_eq!(rows[0], ["1", "", "<a>\n</a>", "2007-06-23 00:00:00.000"]);
        assert_eq!(rows.len(), 2);
    }

    #[test]
    fn a_row_that_is_cut_short_is_refused() {
        assert!(records("1\tx", table("Vendor")).next().unwrap().is_err());
    }

    #[test]
    fn a_changed_key_is_followed() {
        let mut row = vec!["3".to_owned(), "707".to_owned()];
        change_key(table("SpecialOfferProduct"), &mut row);
        assert_eq!(
            condition(table("SpecialOfferProduct"), &row),
            "[SpecialOfferID] = 997 AND [ProductID] = 707"
        );
    }
}
