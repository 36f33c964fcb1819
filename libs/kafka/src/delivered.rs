//! Where records went: what the delivery reports say, put together into runs. Pure.

/// Records that were sent one after the other with one mark and stand in one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// The mark that they were sent with.
    pub mark: usize,
    /// Their partition.
    pub partition: i32,
    /// Offset of the first.
    pub first: i64,
    /// Offset of the last.
    pub last: i64,
    /// How many they are.
    pub count: u64,
}

/// Collects reports. They come partition by partition, in each in the order of sending, so the last run is
/// nearly always the one that grows.
#[derive(Debug, Default)]
pub(crate) struct Delivered {
    runs: Vec<Run>,
}

impl Delivered {
    pub(crate) fn add(&mut self, mark: usize, partition: i32, offset: i64) {
        match self.runs.last_mut() {
            Some(run)
                if run.mark == mark && run.partition == partition && run.last + 1 == offset =>
            {
                run.last = offset;
                run.count += 1;
            }
            Some(_) | None => {
                self.runs.push(Run { mark, partition, first: offset, last: offset, count: 1 });
            }
        }
    }

    /// One run for each mark and partition, by mark and partition.
    pub(crate) fn take(&mut self) -> Vec<Run> {
        let mut runs = std::mem::take(&mut self.runs);
        runs.sort_unstable_by_key(|run| (run.mark, run.partition, run.first));
        runs.dedup_by(|next, run| {
            let same = next.mark == run.mark && next.partition == run.partition;
            if same {
                run.last = next.last;
                run.count += next.count;
            }
            same
        });
        runs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_become_one_run_for_each_mark_and_partition() {
        let mut delivered = Delivered::default();
        // Batches of two topics are acknowledged crosswise; 12 is somebody else's record.
        for (mark, partition, offset) in
            [(0, 0, 10), (0, 0, 11), (1, 0, 7), (0, 1, 3), (0, 0, 13), (1, 0, 8), (2, 0, 14)]
        {
            delivered.add(mark, partition, offset);
        }
        let run = |mark, partition, first, last, count| Run { mark, partition, first, last, count };
        assert_eq!(
            delivered.take(),
            [run(0, 0, 10, 13, 3), run(0, 1, 3, 3, 1), run(1, 0, 7, 8, 2), run(2, 0, 14, 14, 1)]
        );
        assert!(delivered.take().is_empty());
    }
}
