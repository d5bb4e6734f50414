//! Reads pages of metrics in the text format of Prometheus.

/// The sum of all samples of a metric whose lines contain all texts in `labels`.
pub fn sum(page: &str, name: &str, labels: &[&str]) -> f64 {
    let fits = |line: &&str| {
        line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']))
            && labels.iter().all(|part| line.contains(part))
    };
    page.lines().filter(fits).filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}
