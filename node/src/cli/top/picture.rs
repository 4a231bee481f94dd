//! A screen as a picture for the documentation: what a terminal would show, cell by cell, as SVG.

use std::fmt::Write as _;

use ratatui::buffer::{Buffer, Cell};
use ratatui::style::{Color, Modifier};

/// Width and height of a cell.
const CELL: (f64, f64) = (8.4, 18.0);
const MARGIN: f64 = 12.0;
const GROUND: &str = "#10151c";

pub(super) fn svg(screen: &Buffer) -> String {
    let area = screen.area;
    let width = f64::from(area.width) * CELL.0 + 2.0 * MARGIN;
    let height = f64::from(area.height) * CELL.1 + 2.0 * MARGIN;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" width=\"{width:.0}\" role=\"img\" \
         aria-label=\"A terminal that shows quorate top\" font-family=\"ui-monospace, Menlo, 'DejaVu Sans Mono', monospace\" \
         font-size=\"14\">\n<rect width=\"100%\" height=\"100%\" rx=\"8\" fill=\"{GROUND}\"/>\n"
    );
    for y in 0..area.height {
        let mut x = 0;
        while x < area.width {
            let cell = &screen[(x, y)];
            let alike = (x..area.width)
                .take_while(|at| {
                    let other = &screen[(*at, y)];
                    (other.fg, other.modifier) == (cell.fg, cell.modifier)
                        && is_text(other) == is_text(cell)
                })
                .count();
            let cells: Vec<&Cell> = (0..alike)
                .zip(x..)
                .map(|(_, at)| &screen[(at, y)])
                .collect();
            run(&mut svg, &cells, f64::from(x), f64::from(y));
            x += u16::try_from(alike).expect("within the screen");
        }
    }
    svg.push_str("</svg>\n");
    svg
}

/// Lines and bars are drawn, so that they meet whatever the font is.
fn is_text(cell: &Cell) -> bool {
    !matches!(symbol(cell), '─' | '│' | '┌' | '┐' | '└' | '┘' | '▁'..='█' | '⠁'..='⣿')
}

fn symbol(cell: &Cell) -> char {
    cell.symbol().chars().next().unwrap_or(' ')
}

/// Cells of one style, from this column of this line on.
fn run(svg: &mut String, cells: &[&Cell], x: f64, y: f64) {
    let first = cells[0];
    let colour = colour(first.fg);
    let (left, top) = (MARGIN + x * CELL.0, MARGIN + y * CELL.1);
    if !is_text(first) {
        for (cell, at) in cells.iter().zip(0u32..) {
            let left = left + f64::from(at) * CELL.0;
            shape(svg, symbol(cell), colour, left, top);
        }
        return;
    }
    let text: String = cells.iter().map(|cell| symbol(cell)).collect();
    if text.trim().is_empty() {
        return;
    }
    let weight = if first.modifier.contains(Modifier::BOLD) {
        " font-weight=\"bold\""
    } else {
        ""
    };
    let text = text.replace('&', "&amp;").replace('<', "&lt;");
    let width = CELL.0 * f64::from(u32::try_from(cells.len()).expect("a line"));
    let base = top + 13.5;
    let _ = writeln!(
        svg,
        "<text x=\"{left:.1}\" y=\"{base:.1}\" fill=\"{colour}\"{weight} textLength=\"{width:.1}\" xml:space=\"preserve\">{text}</text>"
    );
}

fn shape(svg: &mut String, symbol: char, colour: &str, left: f64, top: f64) {
    let (right, bottom) = (left + CELL.0, top + CELL.1);
    let (x, y) = (left + CELL.0 / 2.0, top + CELL.1 / 2.0);
    let line = match symbol {
        '─' => format!("M{left:.1} {y:.1}H{right:.1}"),
        '│' => format!("M{x:.1} {top:.1}V{bottom:.1}"),
        '┌' => format!("M{right:.1} {y:.1}H{x:.1}V{bottom:.1}"),
        '┐' => format!("M{left:.1} {y:.1}H{x:.1}V{bottom:.1}"),
        '└' => format!("M{right:.1} {y:.1}H{x:.1}V{top:.1}"),
        '┘' => format!("M{left:.1} {y:.1}H{x:.1}V{top:.1}"),
        '⠁'..='⣿' => {
            dots(svg, u32::from(symbol) - 0x2800, colour, left, top);
            return;
        }
        eighths => {
            // U+2581 is an eighth, U+2588 the whole cell.
            let height = CELL.1 * f64::from(u32::from(eighths) - 0x2580) / 8.0;
            let from = bottom - height;
            let width = CELL.0 + 0.2;
            let _ = writeln!(
                svg,
                "<rect x=\"{left:.1}\" y=\"{from:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" fill=\"{colour}\"/>"
            );
            return;
        }
    };
    let _ = writeln!(
        svg,
        "<path d=\"{line}\" stroke=\"{colour}\" fill=\"none\"/>"
    );
}

/// The dots of a Braille sign, by the bits of its code: two columns of three, and a fourth line.
fn dots(svg: &mut String, bits: u32, colour: &str, left: f64, top: f64) {
    let places = [
        (0, 0),
        (0, 1),
        (0, 2),
        (1, 0),
        (1, 1),
        (1, 2),
        (0, 3),
        (1, 3),
    ];
    for (bit, (x, y)) in places.into_iter().enumerate() {
        if bits >> bit & 1 == 1 {
            let (x, y) = (
                left + CELL.0 * (0.25 + 0.5 * f64::from(x)),
                top + CELL.1 * (0.125 + 0.25 * f64::from(y)),
            );
            let _ = writeln!(
                svg,
                "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"1.5\" fill=\"{colour}\"/>"
            );
        }
    }
}

fn colour(colour: Color) -> &'static str {
    match colour {
        Color::Red => "#ff8a80",
        Color::Green => "#5fcf86",
        Color::Yellow => "#f2c66d",
        Color::Cyan => "#7fd1e0",
        Color::DarkGray => "#8593a5",
        _ => "#e6ebf2",
    }
}
