//! What is replicated: the demo's own shop, or AdventureWorks.

use anyhow::{Context as _, Result};
use causeway_tests::{
    random::Random,
    shop::{self, Size, Step},
    sqlserver::Client,
};

use crate::{Args, adventureworks};

/// Tables with rows, and transactions that change them.
pub(crate) enum Dataset {
    /// [`shop`]
    Shop(Box<shop::Load>),
    /// [`adventureworks`]
    AdventureWorks(adventureworks::Load),
}

impl Dataset {
    /// Makes the tables and fills them; gives the number of rows too.
    pub(crate) async fn make(client: &mut Client, args: &Args) -> Result<(Self, u64)> {
        let mut random = Random::new(args.seed);
        match &args.adventureworks {
            None => {
                shop::create(client).await.context("make the shop's tables")?;
                let size = Size { orders: args.rows };
                let (load, rows) =
                    shop::fill(client, size, &mut random).await.context("fill the shop")?;
                Ok((Self::Shop(Box::new(load)), rows))
            }
            Some(folder) => {
                let (load, rows) = adventureworks::load(client, folder, random)
                    .await
                    .with_context(|| format!("load AdventureWorks from {}", folder.display()))?;
                Ok((Self::AdventureWorks(load), rows))
            }
        }
    }

    /// The names of the tables, all in schema `dbo`.
    pub(crate) fn tables(&self) -> Vec<&'static str> {
        match self {
            Self::Shop(_) => shop::TABLES.to_vec(),
            Self::AdventureWorks(_) => adventureworks::names(),
        }
    }

    /// The next transaction.
    pub(crate) fn step(&mut self) -> Step {
        match self {
            Self::Shop(load) => load.step(),
            Self::AdventureWorks(load) => load.step(),
        }
    }
}
