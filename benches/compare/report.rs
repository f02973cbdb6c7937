//! The table and the plot. Ratios to the direct connection of the same round and processor time per unit are what
//! counts; absolute figures are not comparable between machines or hours.

use std::fmt::Write as _;

use crate::measure::median;

/// What is measured, with its unit of processor time.
pub(crate) const LOADS: [(&str, &str); 4] = [
    ("bulk, 1 stream", "s/GB"),
    ("bulk, 8 streams", "s/GB"),
    ("connections, 32 at once", "us"),
    ("requests, 32 at once", "us"),
];

/// One proxy's results.
pub(crate) struct Row {
    pub(crate) name: String,
    /// Per load and round: rate as a ratio to direct, processor time per unit.
    pub(crate) rounds: Vec<[Sample; 4]>,
    pub(crate) base_mib: f64,
    pub(crate) idle_mib: f64,
    pub(crate) errors: u64,
}

/// One load in one round.
#[derive(Clone, Copy, Default)]
pub(crate) struct Sample {
    pub(crate) ratio: f64,
    pub(crate) cpu: f64,
}

impl Row {
    fn ratios(&self, load: usize) -> Vec<f64> {
        self.rounds.iter().map(|round| round[load].ratio).collect()
    }
    fn cpu(&self, load: usize) -> Vec<f64> {
        self.rounds.iter().map(|round| round[load].cpu).collect()
    }
}

/// Medians, with the lowest and highest round behind each.
pub(crate) fn table(rows: &[Row]) -> String {
    let mut out = String::from("| |");
    for (load, unit) in LOADS {
        let _ = write!(out, " {load}: ratio | CPU {unit} |");
    }
    out += " idle base MiB | + per 10,000 idle MiB | errors |\n|---|";
    out += &"---:|".repeat(2 * LOADS.len() + 3);
    out.push('\n');
    for row in rows {
        let _ = write!(out, "| {} |", row.name);
        for load in 0..LOADS.len() {
            let decimals = if load < 2 { 3 } else { 1 };
            let _ = write!(out, " {} | {} |", spread(&row.ratios(load), 2), spread(&row.cpu(load), decimals));
        }
        let _ = writeln!(out, " {:.1} | {:.1} | {} |", row.base_mib, row.idle_mib, row.errors);
    }
    out
}

fn spread(values: &[f64], decimals: usize) -> String {
    let low = values.iter().copied().fold(f64::INFINITY, f64::min);
    let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    format!("{:.decimals$} ({low:.decimals$} to {high:.decimals$})", median(values))
}

const WIDTH: usize = 240;
const LINE: usize = 22;
const LEFT: usize = 110;

/// A small multiple: for each load the ratio to direct (longer is better) and the processor time (shorter is better).
pub(crate) fn svg(rows: &[Row]) -> String {
    let panel_height = (rows.len() + 1) * LINE + 16;
    let (width, height) = (2 * (LEFT + WIDTH + 70), LOADS.len() * panel_height + 10);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    for (load, (name, unit)) in LOADS.iter().enumerate() {
        let top = load * panel_height + 16;
        let ratios: Vec<f64> = rows.iter().map(|row| median(&row.ratios(load))).collect();
        let cpu: Vec<f64> = rows.iter().map(|row| median(&row.cpu(load))).collect();
        panel(&mut out, 0, top, &format!("{name}: rate, direct = 1"), rows, &ratios);
        panel(&mut out, width / 2, top, &format!("{name}: CPU {unit}, less is better"), rows, &cpu);
    }
    out + "</svg>\n"
}

fn panel(out: &mut String, left: usize, top: usize, title: &str, rows: &[Row], values: &[f64]) {
    let _ = writeln!(out, "<text x=\"{}\" y=\"{top}\" font-weight=\"bold\">{title}</text>", left + 4);
    let longest = values.iter().copied().fold(f64::MIN_POSITIVE, f64::max);
    for (at, (row, value)) in rows.iter().zip(values).enumerate() {
        let y = top + 8 + at * LINE;
        let length = value / longest * WIDTH as f64;
        let colour = if row.name.starts_with("hotspare") { "#b5372b" } else { "#7c8a96" };
        let (label, bar, text) = (left + LEFT - 6, left + LEFT, left as f64 + LEFT as f64 + length + 4.0);
        let _ = writeln!(
            out,
            "<text x=\"{label}\" y=\"{}\" text-anchor=\"end\">{}</text>\
             <rect x=\"{bar}\" y=\"{y}\" width=\"{length:.1}\" height=\"16\" fill=\"{colour}\"/>\
             <text x=\"{text:.1}\" y=\"{}\">{value:.2}</text>",
            y + 12,
            row.name,
            y + 12
        );
    }
}
