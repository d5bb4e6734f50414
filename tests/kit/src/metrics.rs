//! What a page of metrics in the text format of Prometheus says.

/// The sum of all samples of a metric whose line has all these parts.
pub fn sum(page: &str, name: &str, labels: &[&str]) -> f64 {
    let fits = |line: &&str| {
        line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']))
            && labels.iter().all(|part| line.contains(part))
    };
    page.lines().filter(fits).filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}
