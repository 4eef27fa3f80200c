//! What was measured several times.

use std::time::Duration;

/// Durations of one block.
#[derive(Debug, Clone, Default)]
pub struct Sample(Vec<f64>);

impl Sample {
    /// Adds one.
    pub fn add(&mut self, duration: Duration) {
        self.0.push(duration.as_secs_f64() * 1e6);
    }

    /// A quantile in microseconds, such as 0.5 for the median.
    #[must_use]
    pub fn quantile(&self, quantile: f64) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_unstable_by(f64::total_cmp);
        let last = sorted.len().saturating_sub(1);
        sorted.get((last as f64 * quantile).round() as usize).copied().unwrap_or(f64::NAN)
    }
}

/// The median; of an even number of values the mean of the two in the middle.
#[must_use]
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    let at = |place: usize| sorted.get(place).copied().unwrap_or(f64::NAN);
    if sorted.len().is_multiple_of(2) && middle > 0 { f64::midpoint(at(middle - 1), at(middle)) } else { at(middle) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_quantiles() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0]), 2.5);
        assert!(median(&[]).is_nan());
        let mut sample = Sample::default();
        (0..=1000).for_each(|micros| sample.add(Duration::from_micros(micros)));
        assert!((sample.quantile(0.5) - 500.0).abs() < 1e-6 && (sample.quantile(0.999) - 999.0).abs() < 1e-6);
    }
}
