//! Metrics in Prometheus' text format, for both programs: the daemon's own counters, and the results of a history.

use prometheus::proto::{Counter, Gauge, LabelPair, Metric, MetricFamily, MetricType, Quantile, Summary};
use prometheus::{Encoder, TEXT_FORMAT, TextEncoder};

/// Names and values that identify a metric within its family.
pub(crate) type Labels<'a> = [(&'a str, &'a str)];

/// The `Content-Type` of the text.
pub(crate) const CONTENT_TYPE: &str = TEXT_FORMAT;

/// Metrics of one name.
#[derive(Debug)]
pub(crate) struct Family(MetricFamily);

impl Family {
    /// Figures that go up and down.
    pub(crate) fn gauge(name: &str, help: &str) -> Self {
        Self::new(name, help, MetricType::GAUGE)
    }

    /// Figures that only grow while the process lives. The name ends with `_total`.
    pub(crate) fn counter(name: &str, help: &str) -> Self {
        Self::new(name, help, MetricType::COUNTER)
    }

    /// Quantiles of a distribution.
    pub(crate) fn summary(name: &str, help: &str) -> Self {
        Self::new(name, help, MetricType::SUMMARY)
    }

    #[inline(never)]
    fn new(name: &str, help: &str, kind: MetricType) -> Self {
        let mut family = MetricFamily::default();
        family.set_name(name.to_owned());
        family.set_help(help.to_owned());
        family.set_field_type(kind);
        Self(family)
    }

    /// Adds a metric to a family of gauges or counters. Labels without a value are left out: to Prometheus they are the
    /// same.
    // Called for each of many figures, where speed is nothing and each copy adds to the programs.
    #[inline(never)]
    pub(crate) fn add(&mut self, labels: &Labels<'_>, value: f64) {
        let mut metric = Self::metric(labels);
        if self.0.get_field_type() == MetricType::COUNTER {
            let mut counter = Counter::default();
            counter.set_value(value);
            metric.set_counter(counter);
        } else {
            let mut gauge = Gauge::default();
            gauge.set_value(value);
            metric.set_gauge(gauge);
        }
        self.0.mut_metric().push(metric);
    }

    /// Adds a metric to a family of summaries: how many there were, their sum, and quantiles with their values.
    #[inline(never)]
    pub(crate) fn add_summary(
        &mut self,
        labels: &Labels<'_>,
        (count, sum): (u64, f64),
        quantiles: impl IntoIterator<Item = (f64, f64)>,
    ) {
        let mut metric = Self::metric(labels);
        let mut summary = Summary::default();
        summary.set_sample_count(count);
        summary.set_sample_sum(sum);
        let of = |(quantile, value)| {
            let mut one = Quantile::default();
            one.set_quantile(quantile);
            one.set_value(value);
            one
        };
        summary.set_quantile(quantiles.into_iter().map(of).collect());
        metric.set_summary(summary);
        self.0.mut_metric().push(metric);
    }

    fn metric(labels: &Labels<'_>) -> Metric {
        let pair = |(name, value): &(&str, &str)| {
            let mut pair = LabelPair::default();
            pair.set_name((*name).to_owned());
            pair.set_value((*value).to_owned());
            pair
        };
        Metric::from_label(labels.iter().filter(|(_, value)| !value.is_empty()).map(pair).collect())
    }
}

/// The text of these families; those without a metric are left out.
pub(crate) fn text(families: impl IntoIterator<Item = Family>) -> String {
    let families: Vec<_> = families
        .into_iter()
        .map(|family| family.0)
        .filter(|family| !family.get_metric().is_empty())
        .collect();
    let mut text = Vec::new();
    TextEncoder::new()
        .encode(&families, &mut text)
        .expect("writing to memory succeeds, and each family has a metric");
    String::from_utf8(text).expect("it is made of strings")
}

/// Checks a text from another program: it has this format, in complete lines without timestamps, and `may` accepts the name of
/// each metric.
pub(crate) fn check(text: &str, may: impl Fn(&str) -> bool) -> Result<(), String> {
    if !text.is_empty() && !text.ends_with('\n') {
        return Err("its last line is incomplete".to_owned());
    }
    let is_sample = |line: &str| {
        let (metric, value) = line.rsplit_once(' ')?;
        let name = metric.split('{').next()?;
        let is_name = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        let labels_end = metric.len() == name.len() || metric.ends_with("\"}");
        value.parse::<f64>().ok()?;
        (is_name && labels_end && may(name)).then_some(())
    };
    let is_comment = |line: &str| match line.strip_prefix("# HELP ").or_else(|| line.strip_prefix("# TYPE "))
    {
        Some(rest) => rest.split(' ').next().filter(|name| may(name)).map(drop),
        None => line.starts_with('#').then_some(()),
    };
    let wrong = text.lines().enumerate().find(|(_, line)| {
        let good = if line.starts_with('#') { is_comment(line) } else { is_sample(line) };
        good.is_none() && !line.is_empty()
    });
    wrong
        .map_or(Ok(()), |(index, _)| Err(format!("line {} is not a valid metric of this program", index + 1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_a_label_holds_stays_in_its_place() {
        let mut family = Family::gauge("a_bytes", "Some \\ and\na line.");
        family.add(&[("name", "a\"} 7\nb_total 1 # \\é"), ("empty", "")], 1.5);
        assert_eq!(
            text([family]),
            "# HELP a_bytes Some \\\\ and\\na line.\n# TYPE a_bytes gauge\n\
             a_bytes{name=\"a\\\"} 7\\nb_total 1 # \\\\é\"} 1.5\n"
        );
    }

    #[test]
    fn each_kind_has_its_own_format() {
        let mut counter = Family::counter("a_total", "A.");
        counter.add(&[], u64::MAX as f64);
        let mut summary = Family::summary("b_seconds", "B.");
        summary.add_summary(&[("x", "y")], (3, 0.000_006), [(0.5, 0.000_002), (0.999, f64::INFINITY)]);
        let empty = Family::gauge("c", "C.");
        assert_eq!(
            text([counter, summary, empty]),
            "# HELP a_total A.\n# TYPE a_total counter\na_total 18446744073709552000\n\
             # HELP b_seconds B.\n# TYPE b_seconds summary\n\
             b_seconds{x=\"y\",quantile=\"0.5\"} 0.000002\nb_seconds{x=\"y\",quantile=\"0.999\"} inf\n\
             b_seconds_sum{x=\"y\"} 0.000006\nb_seconds_count{x=\"y\"} 3\n"
        );
    }
}
