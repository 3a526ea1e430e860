//! Colours by name, each with its value on a light and on a dark page. Drawings have classes, and a style sheet gives each
//! its colour: a page's in variables, which the reader's theme changes, and a separate drawing's in plain values.

use std::io::{self, Write};

/// A colour as `0xRRGGBB`.
type Rgb = u32;

/// Of text and lines: each name with its value on a light and on a dark page.
const COLOURS: [(&str, Rgb, Rgb); 17] = [
    ("page", 0xfdfdfc, 0x15171a),
    ("panel", 0xf3f4f6, 0x20242a),
    ("ink", 0x1b1d20, 0xe8eaed),
    ("muted", 0x555a61, 0xb3b8bf),
    ("grid", 0xdcdfe3, 0x363b42),
    ("link", 0x0b57a4, 0x8abfff),
    ("good", 0x1a6b3c, 0x7fd6a1),
    ("fair", 0x7a5a00, 0xf0c53a),
    ("bad", 0xa83205, 0xffa276),
    // A heat map's fields without a level.
    ("none", 0xe3e3e3, 0x444444),
    ("one-cpu", 0xdce6f2, 0x2b3a4d),
    // Lines, chosen for colour-blind readers: after Okabe and Ito, "Color Universal Design" (2008), darkened or
    // lightened to 3:1 against the page. Their dashes differ too.
    ("c0", 0x0072b2, 0x56b4e9),
    ("c1", 0xd05200, 0xff8f4d),
    ("c2", 0x007a5c, 0x35c99e),
    ("c3", 0xa03c84, 0xe89acf),
    ("c4", 0x8a6600, 0xf0c53a),
    ("c5", 0x33363a, 0xf5f5f5),
];
/// The most lines that a chart shows: as many as there are colours and dashes.
pub(crate) const LINES: usize = 6;

/// A heat map's colours, fastest first: ColorBrewer's `OrRd`, which differ in lightness and so suit colour-blind readers.
pub(crate) const HEAT: [Rgb; 9] =
    [0xfff7ec, 0xfee8c8, 0xfdd49e, 0xfdbb84, 0xfc8d59, 0xef6548, 0xd7301f, 0xb30000, 0x7f0000];

/// From this level on, white is more legible on a heat map's colour than black.
pub(crate) const DARK: usize = 6;

/// The classes of the method with this number: a colour and a dash, the pair unique among the first 36. Its variants have
/// the same colour and other dashes.
pub(crate) fn classes(number: usize, variant: usize) -> String {
    format!("c{} d{}", number % LINES, (number + number / LINES + variant) % LINES)
}

/// All colours. On a dark page the heat map's are reversed, so that the fastest is always nearest to the page; `i0` is the
/// ink on level 0.
fn all() -> impl Iterator<Item = (String, Rgb, Rgb)> {
    let ink = |level: usize| if level >= DARK { 0xffffff } else { 0 };
    let levels = (0..HEAT.len()).map(|level| (level, HEAT.len() - 1 - level));
    let text = COLOURS.iter().map(|(name, light, dark)| ((*name).to_owned(), *light, *dark));
    text.chain(levels.clone().map(|(level, dark)| (format!("h{level}"), HEAT[level], HEAT[dark])))
        .chain(levels.map(move |(level, dark)| (format!("i{level}"), ink(level), ink(dark))))
}

/// The rules of a heat map's classes, with the value of each colour.
fn heat_rules(value: impl Fn(&str) -> String) -> String {
    let level = |level| (format!("h{level}"), format!("i{level}"));
    let fields = (0..HEAT.len()).map(level);
    let others = ["none", "one-cpu"].map(|name| (name.to_owned(), "ink".to_owned()));
    let rule = |(field, ink): (String, String)| {
        format!(".{field}{{fill:{}}}.{field} text{{fill:{}}}\n", value(&field), value(&ink))
    };
    let rules: String = fields.chain(others).map(rule).collect();
    let (page, ink) = (value("page"), value("ink"));
    format!(
        ".heat text{{fill:{ink};font-size:13px;font-family:system-ui,sans-serif}}.heat rect{{stroke:{page}}}.page{{fill:{page}}}\n{rules}"
    )
}

/// The part of a page's style sheet that defines the colours: those of the dark page where the system asks for it or the
/// reader has chosen it, on a screen.
pub(crate) fn write_css(out: &mut dyn Write) -> io::Result<()> {
    let mut block = |selector: &str, dark: bool| {
        write!(out, "{selector}{{color-scheme:{}", if dark { "dark" } else { "light" })?;
        for (name, light, other) in all() {
            write!(out, ";--{name}:#{:06x}", if dark { other } else { light })?;
        }
        write!(out, "}}")
    };
    block(":root", false)?;
    block("@media screen and (prefers-color-scheme:dark){:root:not([data-theme=light])", true)?;
    block("}@media screen{:root[data-theme=dark]", true)?;
    write!(out, "}}\n{}", heat_rules(|name| format!("var(--{name})")))
}

/// The style sheet of a heat map that stands alone: where the system asks for a dark page, the other values.
pub(crate) fn document_css() -> String {
    let rules = |dark: bool| {
        heat_rules(|name| {
            let (_, light, other) = all().find(|(known, ..)| known == name).unwrap_or_default();
            format!("#{:06x}", if dark { other } else { light })
        })
    };
    format!("{}@media (prefers-color-scheme:dark){{\n{}}}\n", rules(false), rules(true))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// WCAG 2's relative luminance.
    fn luminance(colour: Rgb) -> f64 {
        let linear = |part: u8| {
            let part = f64::from(part) / 255.0;
            if part <= 0.04045 { part / 12.92 } else { ((part + 0.055) / 1.055).powf(2.4) }
        };
        let [_, red, green, blue] = colour.to_be_bytes().map(linear);
        0.2126 * red + 0.7152 * green + 0.0722 * blue
    }

    fn contrast(a: Rgb, b: Rgb) -> f64 {
        let (a, b) = (luminance(a), luminance(b));
        (a.max(b) + 0.05) / (a.min(b) + 0.05)
    }

    #[test]
    fn everything_is_legible_on_both_pages() {
        let (page, panel) = (COLOURS[0], COLOURS[1]);
        for (name, light, dark) in COLOURS {
            let least = match name {
                "ink" | "muted" | "link" | "good" | "fair" | "bad" => 4.5,
                name if name.starts_with('c') => 3.0,
                _ => continue,
            };
            for (one, other) in [(light, page.1), (dark, page.2), (light, panel.1), (dark, panel.2)] {
                assert!(contrast(one, other) >= least, "{name}: {}", contrast(one, other));
            }
        }
        let named = |name: String| all().find(|(known, ..)| *known == name).unwrap();
        for level in 0..HEAT.len() {
            let (_, ink, dark_ink) = named(format!("i{level}"));
            let (_, ground, dark_ground) = named(format!("h{level}"));
            assert!(contrast(ink, ground) >= 4.5, "level {level}, light");
            assert!(contrast(dark_ink, dark_ground) >= 4.5, "level {level}, dark");
        }
    }

    #[test]
    fn every_method_has_its_own_colour_and_dash() {
        let pairs: BTreeSet<String> = (0..36).map(|number| classes(number, 0)).collect();
        assert_eq!((pairs.len(), classes(7, 0).as_str(), classes(7, 1).as_str()), (36, "c1 d2", "c1 d3"));
    }
}
