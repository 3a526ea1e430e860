//! Markup: text that stays text, and tables.

use std::fmt::{self, Display, Write};

use crate::diagnostics::is_unprintable;

/// Something shown as text, whatever it has in it.
pub(super) struct Text<T>(pub(super) T);

impl<T: Display> Display for Text<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(Escaping(f), "{}", self.0)
    }
}

struct Escaping<'a, 'b>(&'a mut fmt::Formatter<'b>);

impl Write for Escaping<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for character in text.chars() {
            match character {
                '&' => self.0.write_str("&amp;")?,
                '<' => self.0.write_str("&lt;")?,
                '>' => self.0.write_str("&gt;")?,
                '"' => self.0.write_str("&quot;")?,
                '\'' => self.0.write_str("&#39;")?,
                '\n' | '\t' => self.0.write_char(' ')?,
                character if is_unprintable(character) => self.0.write_char('\u{fffd}')?,
                character => self.0.write_char(character)?,
            }
        }
        Ok(())
    }
}

/// A cell of a table.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Datum {
    pub(super) text: String,
    /// By what its column is sorted, if not by the text.
    pub(super) key: Option<f64>,
}

impl Datum {
    /// A word.
    pub(super) fn word(text: impl Into<String>) -> Self {
        Self { text: text.into(), key: None }
    }

    /// A figure as it is shown, or what stands for none.
    pub(super) fn figure(figure: Option<f64>, show: impl Fn(f64) -> String) -> Self {
        Self { text: figure.map_or_else(|| "–".to_owned(), show), key: figure }
    }
}

/// A table.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Table {
    /// What it is of.
    pub(super) name: String,
    pub(super) heads: Vec<String>,
    /// So many of the first columns say what a row is of.
    pub(super) names: usize,
    pub(super) rows: Vec<Vec<Datum>>,
    /// Whether it has text that is better broken into lines.
    pub(super) prose: bool,
}

impl Table {
    /// Writes it into a box that scrolls by itself where the page is too narrow for it.
    pub(super) fn write(&self, id: Option<&str>, out: &mut String) -> fmt::Result {
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
        out.write_str("</tr></thead><tbody>\n")?;
        for row in &self.rows {
            out.write_str("<tr>")?;
            for (column, datum) in row.iter().enumerate() {
                let key = datum.key.map(|key| format!(" data-key=\"{key}\"")).unwrap_or_default();
                match column {
                    0 => write!(out, "<th scope=\"row\"{key}>{}</th>", Text(&datum.text))?,
                    column if column < self.names => write!(out, "<td{key}>{}</td>", Text(&datum.text))?,
                    _ => write!(out, "<td class=\"n\"{key}>{}</td>", Text(&datum.text))?,
                }
            }
            out.write_str("</tr>\n")?;
        }
        out.write_str("</tbody></table></div>\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_stays_text() {
        let text = Text("<script>alert('1' & \"2\")</script>\n\u{1b}[1m\u{202e}x µ");
        assert_eq!(
            text.to_string(),
            "&lt;script&gt;alert(&#39;1&#39; &amp; &quot;2&quot;)&lt;/script&gt; \u{fffd}[1m\u{fffd}x µ"
        );
    }

    #[test]
    fn a_table_has_a_head_for_each_row_and_column() {
        let table = Table {
            name: "a \"table\"".to_owned(),
            heads: vec!["<name>".to_owned(), "p50".to_owned()],
            names: 1,
            prose: false,
            rows: vec![vec![Datum::word("a&b"), Datum::figure(Some(1.5), |ns| format!("{ns} ns"))]],
        };
        let mut out = String::new();
        table.write(Some("it"), &mut out).unwrap();
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
