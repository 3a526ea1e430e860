//! Tables of the page.

use std::io::{self, Write};

use crate::client::report::escape::Text;

/// A cell of a table.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Datum {
    pub(super) text: String,
    /// The column is sorted by it; by the text if there is none.
    pub(super) key: Option<f64>,
}

impl Datum {
    /// A word.
    pub(super) fn word(text: impl Into<String>) -> Self {
        Self { text: text.into(), key: None }
    }

    /// A figure as shown by `show`, or a dash.
    pub(super) fn figure(figure: Option<f64>, show: impl Fn(f64) -> String) -> Self {
        Self { text: figure.map_or_else(|| "–".to_owned(), show), key: figure }
    }
}

/// A table.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Table {
    /// Its title.
    pub(super) name: String,
    pub(super) heads: Vec<String>,
    /// How many of the first columns identify a row; the others are figures.
    pub(super) names: usize,
    pub(super) rows: Vec<Vec<Datum>>,
    /// Whether it has text that wraps.
    pub(super) prose: bool,
}

impl Table {
    /// Writes it into a box that scrolls where the page is too narrow for it.
    pub(super) fn write(&self, id: Option<&str>, out: &mut Vec<u8>) -> io::Result<()> {
        let id = id.map(|id| format!(" id=\"{id}\"")).unwrap_or_default();
        let class = if self.prose { " class=\"prose\"" } else { "" };
        write!(
            out,
            "<div class=\"scroll\" role=\"region\" tabindex=\"0\" aria-label=\"{0}\"><table{id}{class}>\
             <caption>{0}</caption><thead><tr>",
            Text(&self.name)
        )?;
        for (column, head) in self.heads.iter().enumerate() {
            let class = if column < self.names { "" } else { " class=\"n\"" };
            write!(out, "<th scope=\"col\"{class}>{}</th>", Text(head))?;
        }
        writeln!(out, "</tr></thead><tbody>")?;
        for row in &self.rows {
            write!(out, "<tr>")?;
            for (column, datum) in row.iter().enumerate() {
                let key = datum.key.map(|key| format!(" data-key=\"{key}\"")).unwrap_or_default();
                match column {
                    0 => write!(out, "<th scope=\"row\"{key}>{}</th>", Text(&datum.text))?,
                    column if column < self.names => write!(out, "<td{key}>{}</td>", Text(&datum.text))?,
                    _ => write!(out, "<td class=\"n\"{key}>{}</td>", Text(&datum.text))?,
                }
            }
            writeln!(out, "</tr>")?;
        }
        writeln!(out, "</tbody></table></div>")
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
        table.write(Some("it"), &mut out).unwrap();
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
