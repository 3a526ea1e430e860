//! Text that came from elsewhere, escaped for the markup that it is written into.

use std::fmt::{self, Display, Write};

use crate::diagnostics::is_unprintable;

/// Shown as text in HTML, SVG and their attributes. Unprintable characters are replaced: XML forbids most.
pub(super) struct Text<T>(pub(super) T);

impl<T: Display> Display for Text<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(Escape(f), "{}", self.0)
    }
}

struct Escape<'a, 'b>(&'a mut fmt::Formatter<'b>);

impl Write for Escape<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for character in text.chars() {
            match character {
                '&' => self.0.write_str("&amp;")?,
                '<' => self.0.write_str("&lt;")?,
                '>' => self.0.write_str("&gt;")?,
                '"' => self.0.write_str("&quot;")?,
                '\'' => self.0.write_str("&#39;")?,
                '\n' | '\t' => self.0.write_char(' ')?,
                '\u{fffe}' | '\u{ffff}' => self.0.write_char('\u{fffd}')?,
                character if is_unprintable(character) => self.0.write_char('\u{fffd}')?,
                character => self.0.write_char(character)?,
            }
        }
        Ok(())
    }
}

/// Shown as text in Markdown, on one line.
pub(super) fn markdown(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\n' | '\r' => escaped.push(' '),
            '\\' | '|' | '*' | '_' | '`' | '<' | '>' | '[' | ']' | '~' | '#' => {
                escaped.extend(['\\', character]);
            }
            character => escaped.push(character),
        }
    }
    escaped
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
        assert_eq!(Text("\u{ffff}").to_string(), "\u{fffd}", "XML forbids it");
    }

    #[test]
    fn no_text_breaks_a_markdown_table() {
        assert_eq!(markdown("a|b\nc_d <e>"), r"a\|b c\_d \<e\>");
    }
}
