//! The page of metrics in the OpenMetrics format, made from Prometheus's text: the same series, and exemplars, which that
//! text has no place for. Source: the OpenMetrics specification, 1.0.0.

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

/// A series, as the text has it, and the client that its exemplar names.
pub(super) type Exemplars = HashMap<String, (String, SystemTime)>;

/// The same page, with an exemplar after each series that has one.
pub(super) fn page(text: &str, exemplars: &Exemplars) -> String {
    let kinds: Vec<(&str, &str)> =
        text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ')).collect();
    let counters: HashSet<&str> = kinds.iter().filter(|(_, kind)| *kind == "counter").map(|(name, _)| *name).collect();
    let others: HashSet<&str> = kinds.iter().map(|(name, _)| *name).filter(|name| !counters.contains(name)).collect();
    let mut page = String::with_capacity(text.len());
    for line in text.lines() {
        let _ = match line.strip_prefix("# ").and_then(|line| line.split_once(' ')) {
            Some((word, rest)) => {
                let (name, said) = rest.split_once(' ').unwrap_or((rest, ""));
                // A counter's family has its name without the end that says so, unless another family has that.
                let short = name.strip_suffix("_total").filter(|_| counters.contains(name));
                let family = short.filter(|short| !others.contains(short)).unwrap_or(name);
                let said = match word {
                    "TYPE" if short.is_some() && family == name => "unknown".to_owned(),
                    _ => said.replace('"', "\\\""),
                };
                writeln!(page, "# {word} {family} {said}")
            }
            None => {
                let exemplar = line.rsplit_once(' ').and_then(|(series, _)| exemplars.get(series));
                writeln!(page, "{line}{}", exemplar.map(shown).unwrap_or_default())
            }
        };
    }
    page.push_str("# EOF\n");
    page
}

fn shown((client, at): &(String, SystemTime)) -> String {
    let seconds = at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    format!(" # {{client=\"{client}\"}} 1 {seconds:.3}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn counters_lose_the_end_of_their_name_where_it_is_free_and_series_get_their_exemplars() {
        let text = "# HELP a_total How \"many\".\n# TYPE a_total counter\na_total{x=\"1\"} 7\na_total{x=\"2\"} 8\n\
                    # HELP b Now.\n# TYPE b gauge\nb 1\n# HELP b_total Ever.\n# TYPE b_total counter\nb_total 9\n";
        let at = UNIX_EPOCH + Duration::from_millis(1_500);
        let exemplars = Exemplars::from([("a_total{x=\"2\"}".to_owned(), ("192.0.2.1".to_owned(), at))]);
        assert_eq!(
            page(text, &exemplars),
            "# HELP a How \\\"many\\\".\n# TYPE a counter\na_total{x=\"1\"} 7\n\
             a_total{x=\"2\"} 8 # {client=\"192.0.2.1\"} 1 1.500\n\
             # HELP b Now.\n# TYPE b gauge\nb 1\n# HELP b_total Ever.\n# TYPE b_total unknown\nb_total 9\n# EOF\n"
        );
    }
}
