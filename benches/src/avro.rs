//! Encoding and decoding of envelopes, in memory, on one core.

use std::{
    collections::BTreeSet,
    hint::black_box,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use apache_avro::{Schema, reader::datum::GenericDatumReader, writer::datum::GenericDatumWriter};
use causeway_avro::{Decoder, Encoder, Envelope, Options, Snapshot, SourceBlock, frame};
use causeway_change::{Lsn, Operation};
use causeway_sink::{
    policy::Policy,
    transcode::{Fault, Plan, Replaced},
};

use crate::{orders, result::Results};

/// Long enough that a pause of the machine does not show.
const TIME: Duration = Duration::from_secs(2);

/// Rows between two looks at the clock.
const BATCH: u32 = 1000;

/// Measures `avro.encode` (its limit is apache-avro's writer, without its validation, which is given its tree of values ready made), `avro.decode` (to values, as the reconciler and the tests read) and
/// `avro.transcode` (to PostgreSQL's binary form, as the sink reads): updates, so that each record has
/// two rows.
pub(crate) fn run(results: &mut Results) -> Result<()> {
    let table = orders::table();
    let options = Options::default();
    let encoder = Encoder::new(&table, "bench.bench.dbo.orders", &options, &BTreeSet::new())
        .context("compile the encoder")?;
    let (before, after) = (orders::row(1), orders::row(1));
    let envelope = Envelope {
        before: Some(&before),
        after: Some(&after),
        operation: Operation::Update,
        source: SourceBlock {
            version: env!("CARGO_PKG_VERSION"),
            name: "bench",
            db: "bench",
            schema: "dbo",
            table: "orders",
            ts_ns: 1_770_000_000_000_000_000,
            snapshot: Snapshot::False,
            change_lsn: Some(Lsn::from_parts(1, 2, 3)),
            commit_lsn: Some(Lsn::from_parts(1, 2, 4)),
            event_serial_no: Some(2),
        },
        ts_ns: 1_770_000_000_000_000_000,
    };
    let mut record = Vec::new();
    encoder.encode_value(&envelope, 1, &mut record).context("encode")?;
    let size = record.len();
    let mut out = Vec::with_capacity(2 * size);
    let rate = per_second(|| {
        out.clear();
        encoder.encode_value(black_box(&envelope), 1, &mut out).context("encode")?;
        black_box(&out);
        Ok(())
    })?;
    let other = apache(encoder.value_schema(), &record)?;
    results.add("avro.encode", "rows/s", rate, Some(other), None);

    let decoder = Decoder::new(encoder.value_schema()).context("compile the decoder")?;
    let rate = per_second(|| {
        let (_, bytes) = frame::split(black_box(&record)).context("split the frame")?;
        black_box(decoder.decode(bytes).context("decode")?);
        Ok(())
    })?;
    results.add("avro.decode", "rows/s", rate, None, None);

    let columns = &decoder.table().columns;
    let plan = Plan::new(columns.iter().map(Some), &Policy::default());
    let mut replaced = Replaced::default();
    let rate = per_second(|| {
        out.clear();
        let (_, bytes) = frame::split(black_box(&record)).context("split the frame")?;
        let streamed =
            decoder.stream(bytes, |i, field| plan.put(i, field, &mut out, &mut replaced));
        streamed.map_err(|_: Fault| anyhow::anyhow!("the record is not transcoded"))?;
        black_box(&out);
        Ok(())
    })?;
    results.add("avro.transcode", "rows/s", rate, None, None);
    Ok(())
}

/// Records of the same content that apache-avro writes in a second; making its tree of values is not counted.
fn apache(schema: &str, record: &[u8]) -> Result<f64> {
    let schema = Schema::parse_str(schema).context("parse the schema")?;
    let (_, mut body) = frame::split(record).context("split the frame")?;
    let written = body.to_vec();
    let reader = GenericDatumReader::builder(&schema).build().context("compile its reader")?;
    let value = reader.read_value(&mut body).context("decode by apache-avro")?;
    let writer = GenericDatumWriter::builder(&schema)
        .validate(false)
        .build()
        .context("compile its writer")?;
    let mut out = Vec::with_capacity(2 * written.len());
    let rate = per_second(|| {
        out.clear();
        writer.write_value_ref(&mut out, black_box(&value)).context("encode by apache-avro")?;
        black_box(&out);
        Ok(())
    })?;
    ensure!(out == written, "apache-avro writes other bytes than we do");
    Ok(rate)
}

fn per_second(mut once: impl FnMut() -> Result<()>) -> Result<f64> {
    let start = Instant::now();
    let mut count = 0_u32;
    while start.elapsed() < TIME {
        for _ in 0..BATCH {
            once()?;
        }
        count += BATCH;
    }
    Ok(f64::from(count) / start.elapsed().as_secs_f64())
}
