//! A row of a chunk that updates without their large values have overtaken: published as these left it, with
//! the large values as they were read ([`crate::window`] says why that is exact).

use causeway_avro::{Decoder, Snapshot, frame};
use causeway_change::Row;

use crate::{
    SourceError,
    shared::{Shared, now_ns},
    snapshot::{self, Chunk},
    window::complete,
};

/// Merges rows of one chunk.
#[derive(Debug, Default)]
pub struct Merging {
    /// For the schema that was met last: a chunk has one, seldom two.
    decoder: Option<(u32, Decoder)>,
    bytes: Vec<u8>,
}

impl Merging {
    /// Key and value of `row`, completed by what was read and encoded as `value`.
    pub async fn merge(
        &mut self,
        shared: &Shared,
        chunk: &Chunk,
        mut row: Row,
        value: &[u8],
        place: Snapshot,
    ) -> Result<(&[u8], &[u8]), SourceError> {
        let table = chunk.active.id();
        let own = |error: &dyn std::fmt::Display| {
            SourceError::Task(format!("read a row of a chunk of {table} again: {error}"))
        };
        let (id, body) = frame::split(value).map_err(|error| own(&error))?;
        if self.decoder.as_ref().is_none_or(|(known, _)| *known != id) {
            let schema = shared.registry.schema(id).await.map_err(|source| {
                SourceError::Registry { table: table.clone(), source: Box::new(source) }
            })?;
            let decoder = Decoder::new(&schema).map_err(|source| SourceError::Schema {
                table: table.clone(),
                source: Box::new(source),
            })?;
            self.decoder = Some((id, decoder));
        }
        let Some((_, decoder)) = &self.decoder else { return Err(own(&"no decoder")) };
        let read = decoder.decode(body).map_err(|error| own(&error))?;
        let read = read.after.filter(|read| read.len() == row.len());
        complete(&mut row, read.ok_or_else(|| own(&"it has other columns"))?);
        self.bytes.clear();
        let tail = snapshot::tail(shared, &chunk.active, chunk.lsn, place, now_ns());
        let key_end =
            snapshot::encode(shared, &chunk.active, chunk.lsn, &row, &tail, 0, &mut self.bytes)
                .await?;
        Ok(self.bytes.split_at(key_end))
    }
}
