//! When a group of tables must not be compared, and how much later than others it begins. Pure.

use serde::Deserialize;

/// A span of the day, UTC, as `22:30-06:00`; it may pass midnight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Window {
    from: u32,
    upto: u32,
}

impl TryFrom<String> for Window {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no span of the day such as \"22:30-06:00\"");
        let minutes = |text: &str| -> Option<u32> {
            let (hours, minutes) = text.trim().split_once(':')?;
            let (hours, minutes): (u32, u32) = (hours.parse().ok()?, minutes.parse().ok()?);
            (hours < 24 && minutes < 60).then_some(hours * 60 + minutes)
        };
        let (from, upto) = text.split_once('-').ok_or_else(wrong)?;
        let (from, upto) = (minutes(from).ok_or_else(wrong)?, minutes(upto).ok_or_else(wrong)?);
        if from == upto { Err(wrong()) } else { Ok(Self { from, upto }) }
    }
}

impl Window {
    /// Whether a minute of the day, from 0, lies in it; its end does not.
    #[must_use]
    pub fn contains(&self, minute: u32) -> bool {
        if self.from < self.upto {
            (self.from..self.upto).contains(&minute)
        } else {
            minute >= self.from || minute < self.upto
        }
    }
}

/// A delay of at most `most` seconds: the same for a name and a time, another for each group, so that they do
/// not begin together.
#[must_use]
pub fn jitter(name: &str, time: i64, most: u64) -> u64 {
    let bytes = [name.as_bytes(), &time.to_le_bytes()].concat();
    if most == 0 { 0 } else { xxhash_rust::xxh3::xxh3_64(&bytes) % (most + 1) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(text: &str) -> Result<Window, String> {
        Window::try_from(text.to_owned())
    }

    #[test]
    fn a_window_may_pass_midnight() {
        let day = window("08:00-18:30").unwrap();
        let night = window("22:00-06:00").unwrap();
        for (minute, in_day, in_night) in [
            (0, false, true),
            (359, false, true),
            (360, false, false),
            (480, true, false),
            (1110, false, false),
            (1320, false, true),
        ] {
            assert_eq!(
                (day.contains(minute), night.contains(minute)),
                (in_day, in_night),
                "{minute}"
            );
        }
        for text in ["", "8-9", "25:00-01:00", "08:60-09:00", "08:00-08:00"] {
            assert!(window(text).is_err(), "{text} was accepted");
        }
    }

    #[test]
    fn a_delay_has_a_limit_and_groups_differ() {
        assert!((0..100).all(|time| jitter("a", time, 9) <= 9));
        assert_eq!(jitter("a", 1, 0), 0);
        assert!((0..100).any(|time| jitter("a", time, 900) != jitter("b", time, 900)));
    }
}
