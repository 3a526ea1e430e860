//! Tables of the page, the one of all cells first.

use std::io::{self, Write};

use crate::client::judge::compare::Side;
use crate::client::report::cells::Entry;
use crate::client::report::escape::Text;
use crate::client::report::table::{Datum, Table, overview};

/// Writes what all cells have in common, the fields that choose among them, and their table.
pub(super) fn write_overview(entries: &[Entry<'_>], out: &mut Vec<u8>) -> io::Result<()> {
    if entries.is_empty() {
        return Ok(());
    }
    let (mut table, common) = overview(entries, true);
    // The median is beside the name, where it is seen on a phone too.
    if let Some(p50) = table.heads.iter().position(|head| head == "p50") {
        table.heads[1..=p50].rotate_right(1);
        table.rows.iter_mut().for_each(|row| row[1..=p50].rotate_right(1));
        table.names += 1;
    }
    if !common.is_empty() {
        writeln!(out, "<p>All with {}.</p>", Text(common.join(", ")))?;
    }
    if entries.len() > 1 {
        write_filters(&table, out)?;
    }
    write(&table, Some("cells"), out)?;
    writeln!(
        out,
        "<p class=\"note\">Latencies are those of a round trip. The interval is the median's 95 % confidence interval \
         over trials. A quantile with fewer than ten rounds beyond it is not shown.</p>",
    )
}

/// Fields that the script enables; without it they are hidden.
fn write_filters(table: &Table, out: &mut Vec<u8>) -> io::Result<()> {
    writeln!(
        out,
        "<form class=\"filters\" id=\"filters\" hidden><label>Only rows with <input type=\"search\" id=\"words\" \
         placeholder=\"tcp\" autocomplete=\"off\"></label>",
    )?;
    for (column, head) in table.heads.iter().enumerate().take(table.names).skip(2) {
        let mut values: Vec<&Datum> = Vec::new();
        for datum in table.rows.iter().map(|row| &row[column]) {
            if !values.iter().any(|known| known.text == datum.text) {
                values.push(datum);
            }
        }
        values.sort_by(|a, b| a.key.unwrap_or(0.0).total_cmp(&b.key.unwrap_or(0.0)));
        write!(out, "<label>{head} <select data-column=\"{head}\"><option value=\"\">all</option>")?;
        for value in values {
            write!(out, "<option>{}</option>", Text(shown(value)))?;
        }
        writeln!(out, "</select></label>")?;
    }
    writeln!(
        out,
        "<button type=\"reset\">Show all</button> <output id=\"count\" aria-live=\"polite\"></output></form>",
    )
}

fn shown(datum: &Datum) -> &str {
    if datum.text.is_empty() { "–" } else { &datum.text }
}

/// Whether the column has figures, which are aligned to the right.
fn figure(table: &Table, column: usize) -> bool {
    column >= table.names || table.heads[column] == "p50"
}

/// Writes a table into a box that scrolls where the page is too narrow for it.
pub(super) fn write(table: &Table, id: Option<&str>, out: &mut Vec<u8>) -> io::Result<()> {
    let id = id.map(|id| format!(" id=\"{id}\"")).unwrap_or_default();
    let class = if table.prose { " class=\"prose\"" } else { "" };
    write!(
        out,
        "<div class=\"scroll\" role=\"region\" tabindex=\"0\" aria-label=\"{0}\"><table{id}{class}>\
             <caption>{0}</caption><thead><tr>",
        Text(&table.name)
    )?;
    for (column, head) in table.heads.iter().enumerate() {
        let class = if figure(table, column) { " class=\"n\"" } else { "" };
        write!(out, "<th scope=\"col\"{class}>{}</th>", Text(head))?;
    }
    writeln!(out, "</tr></thead><tbody>")?;
    for row in &table.rows {
        write!(out, "<tr>")?;
        for (column, datum) in row.iter().enumerate() {
            let key = datum.key.map(|key| format!(" data-key=\"{key}\"")).unwrap_or_default();
            match column {
                0 => write!(out, "<th scope=\"row\"{key}>{}</th>", Text(shown(datum)))?,
                _ if !figure(table, column) => write!(out, "<td{key}>{}</td>", Text(shown(datum)))?,
                _ => write!(out, "<td class=\"n\"{key}>{}</td>", Text(shown(datum)))?,
            }
        }
        writeln!(out, "</tr>")?;
    }
    writeln!(out, "</tbody></table></div>")
}

/// A run's name: its id in the history and its label, or its file.
pub(super) fn run_name(side: &Side) -> String {
    match (side.run, &side.label) {
        (Some(run), Some(label)) => format!("run {run} ({label})"),
        (Some(run), None) => format!("run {run}"),
        (None, _) => side.name.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_has_a_head_for_each_row_and_column() {
        let table = Table {
            name: "a \"table\"".to_owned(),
            heads: vec!["<name>".to_owned(), "p50".to_owned()],
            names: 1,
            prose: false,
            rows: vec![vec![Datum::word("a&b"), Datum::figure(Some(1.5), |ns| format!("{ns} ns"))]],
        };
        let mut out = Vec::new();
        write(&table, Some("it"), &mut out).unwrap();
        let out = String::from_utf8(out).unwrap();
        assert!(
            out.contains(
                "aria-label=\"a &quot;table&quot;\"><table id=\"it\"><caption>a &quot;table&quot;</caption>"
            ),
            "{out}"
        );
        assert!(
            out.contains("<th scope=\"col\">&lt;name&gt;</th><th scope=\"col\" class=\"n\">p50</th>"),
            "{out}"
        );
        assert!(
            out.contains("<th scope=\"row\">a&amp;b</th><td class=\"n\" data-key=\"1.5\">1.5 ns</td>"),
            "{out}"
        );
    }
}
