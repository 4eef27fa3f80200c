//! Figures as people read them.

use std::time::Duration;

/// A duration with three digits: `0.31 ms`, `4.2 ms`, `41 ms`, `1.3 s`.
pub fn time(duration: Duration) -> String {
    let millis = duration.as_secs_f64() * 1e3;
    match millis {
        ..1.0 => format!("{millis:.2} ms"),
        ..10.0 => format!("{millis:.1} ms"),
        ..1000.0 => format!("{millis:.0} ms"),
        _ => format!("{:.1} s", millis / 1e3),
    }
}

/// A count with its thousands apart: `4,096`.
pub fn count(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A count of bytes: `850 B`, `127 kB`.
pub fn bytes(number: usize) -> String {
    if number < 1000 { format!("{number} B") } else { format!("{} kB", count(number / 1000)) }
}

/// What was measured several times.
#[derive(Debug, Default, Clone)]
pub struct Sample(Vec<Duration>);

impl Sample {
    /// Adds one measurement.
    pub fn add(&mut self, duration: Duration) {
        self.0.push(duration);
    }

    /// How many there are.
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// The middle one (the upper of two).
    pub fn median(&self) -> Duration {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        sorted.get(sorted.len() / 2).copied().unwrap_or_default()
    }

    /// The longest.
    pub fn worst(&self) -> Duration {
        self.0.iter().max().copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_keep_their_scale() {
        let of = |micros| time(Duration::from_micros(micros));
        assert_eq!([of(310), of(4_200), of(41_400), of(1_340_000)], ["0.31 ms", "4.2 ms", "41 ms", "1.3 s"]);
    }

    #[test]
    fn thousands_are_apart() {
        assert_eq!([count(7), count(999), count(4096), count(1_234_567)], ["7", "999", "4,096", "1,234,567"]);
    }

    #[test]
    fn the_median_is_one_of_the_measurements_and_the_worst_the_longest() {
        let mut sample = Sample::default();
        [5, 1, 9].map(Duration::from_millis).into_iter().for_each(|duration| sample.add(duration));
        assert_eq!((sample.median(), sample.worst()), (Duration::from_millis(5), Duration::from_millis(9)));
    }
}
