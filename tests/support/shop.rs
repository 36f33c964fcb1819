//! A shop: customers, products, orders with their items. Its schema, its rows, and a day at work.

use anyhow::Result;

use crate::{
    all_types::{self, Column},
    random::Random,
    sql::{Inserts, text, text_or_null},
    sqlserver::{Client, exec},
};

/// The tables, in an order in which foreign keys can be made.
pub const TABLES: [&str; 5] = ["customers", "products", "orders", "order_items", "all_types"];

/// Where `order_id` begins.
const FIRST_ORDER: u64 = 1_000_001;

const FIRST_NAMES: [&str; 12] = [
    "Ana",
    "Bjørn",
    "Chloé",
    "Dmitri",
    "Eun-ji",
    "Fátima",
    "Günther",
    "Hana",
    "Ibrahim",
    "José",
    "Kateřina",
    "Siobhán",
];
const LAST_NAMES: [&str; 12] = [
    "Åkesson",
    "Brown",
    "Çelik",
    "D'Angelo",
    "Eriksen",
    "Fernández",
    "Gupta",
    "Horváth",
    "Ito",
    "O'Neill",
    "Šimek",
    "王",
];
const CITIES: [&str; 8] =
    ["Århus", "Berlin", "Kraków", "Lyon", "Málaga", "Österbro", "São Paulo", "東京"];
const COUNTRIES: [&str; 8] = ["DK", "DE", "PL", "FR", "ES", "DK", "BR", "JP"];
const THINGS: [&str; 8] =
    ["kettle", "lamp", "notebook", "umbrella", "teapot", "bicycle bell", "scarf", "screwdriver"];

/// How many rows the tables have at the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Rows of `orders`; the other tables follow in proportion.
    pub orders: u64,
}

impl Size {
    /// Rows of `customers`.
    #[must_use]
    pub fn customers(self) -> u64 {
        (self.orders / 5).max(10)
    }

    /// Rows of `products`.
    #[must_use]
    pub fn products(self) -> u64 {
        (self.orders / 50).max(10)
    }
}

/// Makes the tables.
///
/// # Errors
/// What the server answers.
pub async fn create(client: &mut Client) -> Result<()> {
    for statement in [
        "CREATE TABLE dbo.customers (
  customer_id int NOT NULL PRIMARY KEY,
  email nvarchar(200) NOT NULL,
  name nvarchar(100) NOT NULL,
  city nvarchar(60) NULL,
  country char(2) NOT NULL,
  credit_limit decimal(12,2) NULL,
  vip bit NOT NULL DEFAULT 0,
  created_at datetime2(3) NOT NULL,
  notes nvarchar(max) NULL)",
        "CREATE TABLE dbo.products (
  sku varchar(20) NOT NULL PRIMARY KEY,
  name nvarchar(100) NOT NULL,
  price money NOT NULL,
  weight_kg real NULL,
  in_stock int NOT NULL DEFAULT 0,
  sold_since date NOT NULL)",
        "CREATE TABLE dbo.orders (
  order_id bigint NOT NULL PRIMARY KEY,
  customer_id int NOT NULL REFERENCES dbo.customers (customer_id),
  status tinyint NOT NULL,
  total decimal(18,2) NOT NULL,
  placed_at datetimeoffset(3) NOT NULL,
  shipped_at datetime NULL,
  reference uniqueidentifier NOT NULL)",
        "CREATE TABLE dbo.order_items (
  order_id bigint NOT NULL REFERENCES dbo.orders (order_id),
  line smallint NOT NULL,
  sku varchar(20) NOT NULL REFERENCES dbo.products (sku),
  quantity int NOT NULL,
  unit_price money NOT NULL,
  PRIMARY KEY (order_id, line))",
        &all_types::create("all_types"),
    ] {
        exec(client, statement).await?;
    }
    Ok(())
}

/// Fills the tables; gives the state that [`Load`] goes on from, and the number of rows.
///
/// # Errors
/// What the server answers.
pub async fn fill(client: &mut Client, size: Size, random: &mut Random) -> Result<(Load, u64)> {
    let mut rows = 0;
    let mut customers = Inserts::new(
        client,
        "dbo.customers",
        "customer_id, email, name, city, country, credit_limit, vip, created_at, notes",
    );
    for id in 1..=size.customers() {
        customers.push(&customer(id, random)).await?;
    }
    rows += customers.finish().await?;

    let mut products =
        Inserts::new(client, "dbo.products", "sku, name, price, weight_kg, in_stock, sold_since");
    for number in 1..=size.products() {
        products.push(&product(number, random)).await?;
    }
    rows += products.finish().await?;

    let mut live = Vec::new();
    let mut items = Vec::new();
    let mut orders = Inserts::new(client, "dbo.orders", ORDER_COLUMNS);
    for id in FIRST_ORDER..FIRST_ORDER + size.orders {
        let order = Order { id, items: random.between(1, 4) };
        items.extend(item_rows(&order, size, random));
        orders.push(&order_row(&order, size, random)).await?;
        live.push(order);
    }
    rows += orders.finish().await?;
    let mut inserts = Inserts::new(client, "dbo.order_items", ITEM_COLUMNS);
    for item in &items {
        inserts.push(item).await?;
    }
    rows += inserts.finish().await?;
    rows += all_types::fill(client, "all_types", 1).await?;
    let next = FIRST_ORDER + size.orders;
    Ok((Load { size, random: random.clone(), live, next, all_types: 100, moved: 0 }, rows))
}

const ORDER_COLUMNS: &str =
    "order_id, customer_id, status, total, placed_at, shipped_at, reference";
const ITEM_COLUMNS: &str = "order_id, line, sku, quantity, unit_price";

fn customer(id: u64, random: &mut Random) -> String {
    let (first, last) = (*random.pick(&FIRST_NAMES), *random.pick(&LAST_NAMES));
    let place = usize::try_from(random.below(8)).unwrap_or(0);
    let city = CITIES.get(place).filter(|_| random.chance(90));
    let country = COUNTRIES.get(place).copied().unwrap_or("DE");
    let limit = if random.chance(70) {
        format!("{}.{:02}", random.below(20_000), random.below(100))
    } else {
        "NULL".to_owned()
    };
    let notes = match random.below(10) {
        0 => text("Rings twice.\nThe bell is broken; please knock."),
        1 => text(""),
        _ => "NULL".to_owned(),
    };
    format!(
        "{id}, {}, {}, {}, '{country}', {limit}, {}, '{}', {notes}",
        text(&format!("customer{id}@example.com")),
        text(&format!("{first} {last}")),
        text_or_null(city.copied()),
        random.below(2),
        moment(random),
    )
}

fn product(number: u64, random: &mut Random) -> String {
    let weight = if random.chance(80) {
        format!("{}.{:03}", random.below(40), random.below(1000))
    } else {
        "NULL".to_owned()
    };
    format!(
        "'{}', {}, {}.{:04}, {weight}, {}, '{}-{:02}-{:02}'",
        sku(number),
        text(&format!("{} no. {number}", random.pick(&THINGS))),
        random.below(500),
        random.below(10_000),
        random.below(1000),
        random.between(2005, 2026),
        random.between(1, 12),
        random.between(1, 28),
    )
}

fn sku(number: u64) -> String {
    format!("SKU-{number:06}")
}

/// An order that exists, and the number of its lines.
#[derive(Clone, Copy, Debug)]
struct Order {
    id: u64,
    items: u64,
}

fn order_row(order: &Order, size: Size, random: &mut Random) -> String {
    let shipped =
        if random.chance(60) { format!("'{}'", moment(random)) } else { "NULL".to_owned() };
    let (hours, sign) = (random.below(13), if random.chance(50) { '+' } else { '-' });
    format!(
        "{}, {}, {}, {}.{:02}, '{}{sign}{hours:02}:00', {shipped}, '{}'",
        order.id,
        random.between(1, size.customers()),
        random.below(5),
        random.below(5000),
        random.below(100),
        moment(random),
        guid(random),
    )
}

fn item_rows(order: &Order, size: Size, random: &mut Random) -> Vec<String> {
    (1..=order.items)
        .map(|line| {
            format!(
                "{}, {line}, '{}', {}, {}.{:04}",
                order.id,
                sku(random.between(1, size.products())),
                random.between(1, 9),
                random.below(500),
                random.below(10_000),
            )
        })
        .collect()
}

fn moment(random: &mut Random) -> String {
    format!(
        "{}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}",
        random.between(2015, 2026),
        random.between(1, 12),
        random.between(1, 28),
        random.below(24),
        random.below(60),
        random.below(60),
        random.below(1000),
    )
}

fn guid(random: &mut Random) -> String {
    let (a, b) = (random.bits(), random.bits());
    format!(
        "{:08X}-{:04X}-4{:03X}-A{:03X}-{:012X}",
        a & 0xFFFF_FFFF,
        (a >> 32) & 0xFFFF,
        (a >> 48) & 0xFFF,
        b & 0xFFF,
        (b >> 12) & 0xFFFF_FFFF_FFFF
    )
}

/// The shop at work: each [`Load::step`] is one transaction as a shop's program would send it.
#[derive(Debug)]
pub struct Load {
    size: Size,
    random: Random,
    live: Vec<Order>,
    next: u64,
    all_types: u64,
    moved: u64,
}

/// One transaction.
#[derive(Debug)]
pub struct Step {
    /// Its T-SQL, with `BEGIN` and `COMMIT` when it has several statements.
    pub sql: String,
    /// How many rows it changes.
    pub rows: u64,
}

impl Load {
    /// The next transaction: a new order, a change of state, a price, a deletion, a changed key.
    pub fn step(&mut self) -> Step {
        match self.random.below(100) {
            0..35 => self.place_order(),
            35..60 => self.ship_order(),
            60..72 => self.change_customer(),
            72..82 => self.change_price(),
            82..90 => self.delete_order(),
            90..95 => self.move_line(),
            95..98 => self.close_orders(),
            _ => self.touch_all_types(),
        }
    }

    fn place_order(&mut self) -> Step {
        let order = Order { id: self.next, items: self.random.between(1, 4) };
        self.next += 1;
        let head = order_row(&order, self.size, &mut self.random);
        let items = item_rows(&order, self.size, &mut self.random);
        let sku = sku(self.random.between(1, self.size.products()));
        self.live.push(order);
        Step {
            sql: transaction(&[
                format!("INSERT INTO dbo.orders ({ORDER_COLUMNS}) VALUES ({head})"),
                format!(
                    "INSERT INTO dbo.order_items ({ITEM_COLUMNS}) VALUES ({})",
                    items.join("), (")
                ),
                format!("UPDATE dbo.products SET in_stock = in_stock - 1 WHERE sku = '{sku}'"),
            ]),
            rows: 2 + order.items,
        }
    }

    fn ship_order(&mut self) -> Step {
        let Some(order) = self.any() else { return self.place_order() };
        let when = moment(&mut self.random);
        Step {
            sql: format!(
                "UPDATE dbo.orders SET status = 3, shipped_at = '{when}' WHERE order_id = {}",
                order.id
            ),
            rows: 1,
        }
    }

    fn change_customer(&mut self) -> Step {
        let id = self.random.between(1, self.size.customers());
        // Half of them leave the large column alone: change tables then do not have its value.
        let sql = if self.random.chance(50) {
            format!("UPDATE dbo.customers SET vip = 1 - vip WHERE customer_id = {id}")
        } else {
            let note = text(&format!("called {}; it's fine ✓", moment(&mut self.random)));
            format!("UPDATE dbo.customers SET notes = {note} WHERE customer_id = {id}")
        };
        Step { sql, rows: 1 }
    }

    fn change_price(&mut self) -> Step {
        let sku = sku(self.random.between(1, self.size.products()));
        let (whole, part) = (self.random.below(900), self.random.below(10_000));
        Step {
            sql: format!("UPDATE dbo.products SET price = {whole}.{part:04} WHERE sku = '{sku}'"),
            rows: 1,
        }
    }

    fn delete_order(&mut self) -> Step {
        let Some(at) = self.place() else { return self.place_order() };
        let order = self.live.swap_remove(at);
        Step {
            sql: transaction(&[
                format!("DELETE FROM dbo.order_items WHERE order_id = {}", order.id),
                format!("DELETE FROM dbo.orders WHERE order_id = {}", order.id),
            ]),
            rows: 1 + order.items,
        }
    }

    /// An update of a key column: the row with the old key goes, one with the new key comes.
    fn move_line(&mut self) -> Step {
        let Some(order) = self.any() else { return self.place_order() };
        self.moved = self.moved % 300 + 1;
        // A line that has moved already stays where it is, so no two can meet.
        let to = 100 + self.moved * 100;
        Step {
            sql: format!(
                "UPDATE dbo.order_items SET line = line + {to} WHERE order_id = {} AND line = 1",
                order.id
            ),
            rows: 1,
        }
    }

    fn close_orders(&mut self) -> Step {
        let Some(order) = self.any() else { return self.place_order() };
        let last = order.id + 19;
        let count = self.live.iter().filter(|o| (order.id..=last).contains(&o.id)).count();
        Step {
            sql: format!(
                "UPDATE dbo.orders SET status = 4 WHERE order_id BETWEEN {} AND {last}",
                order.id
            ),
            rows: count as u64,
        }
    }

    fn touch_all_types(&mut self) -> Step {
        self.all_types += 1;
        let id = self.all_types;
        let column = self.random.pick(all_types::COLUMNS);
        let (sql, rows) = match self.random.below(3) {
            0 => (all_types::insert("all_types", id, |column| column.most), 1),
            1 => {
                let Column { name, least, .. } = column;
                (format!("UPDATE dbo.all_types SET {name} = {least} WHERE id <= 3"), 3)
            }
            _ => (format!("DELETE FROM dbo.all_types WHERE id = {}", id - 1), 1),
        };
        Step { sql, rows }
    }

    fn any(&mut self) -> Option<Order> {
        self.place().and_then(|at| self.live.get(at).copied())
    }

    fn place(&mut self) -> Option<usize> {
        let count = self.live.len() as u64;
        (count > 0).then(|| usize::try_from(self.random.below(count)).unwrap_or(0))
    }
}

fn transaction(statements: &[String]) -> String {
    format!("BEGIN TRANSACTION;\n{};\nCOMMIT TRANSACTION;", statements.join(";\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_day() {
        let day = |seed| {
            let size = Size { orders: 100 };
            let live =
                (0..100).map(|n| Order { id: FIRST_ORDER + n, items: 2 }).collect::<Vec<_>>();
            let random = Random::new(seed);
            let mut load = Load { size, random, live, next: 2_000_000, all_types: 1, moved: 0 };
            (0..500).map(|_| load.step().sql).collect::<Vec<_>>()
        };
        assert_eq!(day(1), day(1));
        assert_ne!(day(1), day(2));
        for part in ["INSERT", "DELETE", "SET line", "BETWEEN", "all_types"] {
            assert!(day(1).iter().any(|sql| sql.contains(part)), "no step has {part}");
        }
    }
}
