//! What `top` looks like: a function of what was seen and what was pressed.
//!
//! Nothing is said by colour alone, and only the terminal's own sixteen are used, so that it follows the user's theme.

use std::time::Duration;

use quorate_client::api::StatusReply;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style, Stylize as _};
use ratatui::symbols::Marker;
use ratatui::text::{Line, Span, Text};
use ratatui::widgets::{Axis, Block, Cell, Chart, Dataset, GraphType, Paragraph, Row, Table, Wrap};

use super::super::pace::Pace;
use super::super::survey::{Member, Survey};
use super::{Keys, View};

/// Blocks behind which a validator is marked.
const LATE: u64 = 16;
/// Lines above the table.
const HEAD: u16 = 3;
/// Least height of the plots; with less, there are none.
const PLOTS: u16 = 5;
/// From this height on, the plots stand one above the other.
const STACKED: u16 = 15;
/// Looks that fill a plot.
const SHORTEST: usize = 30;
/// Columns of the table: title, width, and the least width of the terminal at which it is shown.
const COLUMNS: [(&str, u16, u16); 10] = [
    ("validator", 0, 0),
    ("height", 9, 0),
    ("behind", 6, 0),
    ("peers", 5, 56),
    ("seen", 5, 62),
    ("missed", 6, 48),
    ("votes", 8, 79),
    ("rtt", 6, 70),
    ("queue", 5, 66),
    ("ready", 6, 0),
];
/// The first column that is not a number, and the last.
const LEFT: [usize; 3] = [0, 6, 9];
/// The least width of a name.
const NAME: u16 = 13;

pub(super) fn draw(frame: &mut Frame<'_>, view: &View, keys: Keys) {
    let area = frame.area();
    let problems = problem_lines(view, area.width).min(area.height / 3).max(3);
    let members = u16::try_from(view.survey.members.len().max(1)).unwrap_or(u16::MAX);
    let left = area.height.saturating_sub(HEAD + problems);
    let table = members.saturating_add(3).min(match left {
        // Rather some rows fewer than no plots; but not fewer than a few.
        12.. => left - PLOTS,
        _ => left,
    });
    let areas = Layout::vertical([
        Constraint::Length(HEAD),
        Constraint::Length(table),
        Constraint::Fill(1),
        Constraint::Length(problems),
    ]);
    let [head, table, plots, problems] = areas.areas(area);
    draw_head(frame, head, view, keys);
    draw_table(frame, table, view, keys);
    draw_plots(frame, plots, view);
    draw_problems(frame, problems, view);
}

fn draw_head(frame: &mut Frame<'_>, area: Rect, view: &View, keys: Keys) {
    let survey = &view.survey;
    let ready = survey.answers().filter(|status| status.ready).count();
    let all = ready > 0 && ready == survey.size();
    let style = Style::new()
        .fg(if all { Color::Green } else { Color::Red })
        .bold();
    let said = format!("{ready} of {} ready", survey.size());
    let hint = match keys.paused {
        true => "   held, p goes on ",
        false => "   q quits ",
    };
    let right = Line::from(vec![
        Span::styled(said, style),
        Span::from(hint).dark_gray(),
    ]);
    let width = u16::try_from(right.width()).unwrap_or(u16::MAX);
    let chain: String = survey.chain.to_string().chars().take(16).collect();
    let name = survey.best().map_or("", |best| best.name.as_str());
    let left = Line::from(vec![
        Span::from(" quorate ").bold().cyan(),
        Span::from(format!(" {name} ")).bold(),
        Span::from(chain).dark_gray(),
    ]);
    let [title, figures] =
        Layout::vertical([Constraint::Length(1), Constraint::Length(2)]).areas(area);
    let [start, end] =
        Layout::horizontal([Constraint::Fill(1), Constraint::Length(width)]).areas(title);
    frame.render_widget(left, start);
    frame.render_widget(right, end);
    match survey.best() {
        Some(best) => draw_figures(frame, figures, view, best),
        None => frame.render_widget(Line::from(" no validator answers").red(), figures),
    }
}

fn draw_figures(frame: &mut Frame<'_>, area: Rect, view: &View, best: &StatusReply) {
    let survey = &view.survey;
    let age = survey.head_age().unwrap_or_default().as_secs_f64();
    let pace = view.paces.back().copied().unwrap_or_default();
    // While nothing is committed, what it was last.
    let latency = view.paces.iter().rev().find_map(|pace| pace.latency);
    let leader = best.leader.map(|index| survey.name(index));
    let queued: u64 = survey.answers().map(|s| s.mempool_transactions).sum();
    let figures = [
        ("height", 9, best.height.to_string()),
        ("age", 6, format!("{age:.1} s")),
        ("blocks/s", 8, tenths(pace.blocks)),
        ("every", 7, view.interval.map_or_else(none, millis)),
        ("tx/s", 8, tenths(pace.transactions)),
        ("latency", 7, latency.map_or_else(none, millis)),
        ("queued", 6, queued.to_string()),
        ("round", 9, best.round.to_string()),
        ("leader", 0, leader.unwrap_or_else(none)),
    ];
    let widths = figures.each_ref().map(|(_, width, _)| match width {
        0 => Constraint::Min(6),
        width => Constraint::Length(*width),
    });
    let titles = Row::new(figures.each_ref().map(|(title, _, _)| *title)).dark_gray();
    let values = Row::new(figures.map(|(_, _, value)| value)).bold();
    let [_, area] = Layout::horizontal([Constraint::Length(1), Constraint::Fill(1)]).areas(area);
    frame.render_widget(Table::new([titles, values], widths), area);
}

fn draw_table(frame: &mut Frame<'_>, area: Rect, view: &View, keys: Keys) {
    let survey = &view.survey;
    let shown: Vec<usize> = (0..COLUMNS.len())
        .filter(|at| COLUMNS[*at].2 <= area.width)
        .collect();
    let rows = survey.members.len();
    let room = usize::from(area.height.saturating_sub(3));
    // The last page is a full one.
    let first = keys.scrolled.min(rows.saturating_sub(room));
    let rows_shown = survey.members.iter().skip(first).take(room).map(|member| {
        let (cells, style) = cells(survey, member);
        let cells = cells.into_iter().enumerate();
        Row::new(
            cells
                .filter(|(at, _)| shown.contains(at))
                .map(|(_, cell)| cell),
        )
        .style(style)
    });
    let titles = shown
        .iter()
        .map(|at| aligned(*at, Line::from(COLUMNS[*at].0)));
    let widths = shown.iter().map(|at| match COLUMNS[*at].1 {
        0 => Constraint::Min(NAME),
        width => Constraint::Length(width),
    });
    let mut title = format!(" validators; a quorum is {} of {rows} ", survey.quorum());
    if room < rows {
        title += &format!(
            "· {} to {}, arrows scroll ",
            first + 1,
            (first + room).min(rows)
        );
    }
    let table = Table::new(rows_shown, widths)
        .header(Row::new(titles).style(Style::new().fg(Color::DarkGray)))
        .column_spacing(1)
        .block(pane(title, false));
    frame.render_widget(table, area);
}

/// One validator's row, all columns of it.
fn cells(survey: &Survey, member: &Member) -> ([Cell<'static>; COLUMNS.len()], Style) {
    let leader = survey.best().and_then(|best| best.leader);
    let mark = if leader == Some(member.index) {
        "*"
    } else {
        " "
    };
    let name = format!("{mark}{}", member.name);
    let seen = format!("{}/{}", member.connected_from, member.asked);
    let votes = member.votes.min(survey.certificates);
    let missed = (survey.certificates - votes).to_string();
    let bar = bar(votes, survey.certificates);
    let row = member.row.and_then(|row| survey.rows.get(row));
    let text = |at: usize, text: String| aligned(at, Line::from(text));
    let answer = row.and_then(|row| Some((row, row.status.as_ref().ok()?)));
    let Some((row, status)) = answer else {
        let dash = |at| text(at, String::from("-"));
        // The profile does not name it.
        let unasked = survey.all_answered();
        let cells = [
            text(0, name),
            dash(1),
            dash(2),
            dash(3),
            text(4, seen),
            text(5, missed),
            Cell::from(bar),
            dash(7),
            dash(8),
            text(9, String::from(if unasked { "-" } else { "silent" })),
        ];
        let colour = if unasked { Color::DarkGray } else { Color::Red };
        return (cells, Style::new().fg(colour));
    };
    let behind = survey.head().map_or(0, |head| head.above(status.height));
    let style = match status.ready {
        false => Style::new().fg(Color::Red),
        true if behind > LATE => Style::new().fg(Color::Yellow),
        true => Style::new(),
    };
    let others = status.validators.saturating_sub(1);
    let cells = [
        text(0, name),
        text(1, status.height.to_string()),
        text(2, behind.to_string()),
        text(3, format!("{}/{others}", status.peers_connected)),
        text(4, seen),
        text(5, missed),
        Cell::from(bar),
        text(7, millis(row.round_trip)),
        text(8, status.mempool_transactions.to_string()),
        text(9, String::from(if status.ready { "yes" } else { "NO" })),
    ];
    (cells, style)
}

/// Numbers stand on the right.
fn aligned(at: usize, line: Line<'static>) -> Cell<'static> {
    Cell::from(Text::from(match LEFT.contains(&at) {
        true => line,
        false => line.right_aligned(),
    }))
}

/// The part of the certificates that hold its vote.
fn bar(votes: usize, of: usize) -> Line<'static> {
    let width = usize::from(COLUMNS[6].1);
    let full = (votes * width).checked_div(of).unwrap_or(0);
    Line::from(vec![
        Span::from("■".repeat(full)).cyan(),
        Span::from("·".repeat(width - full)).dark_gray(),
    ])
}

/// What a plot shows of a look, times ten.
type Value = fn(&Pace) -> u64;

/// One above the other if there is room, else side by side.
fn draw_plots(frame: &mut Frame<'_>, area: Rect, view: &View) {
    let plots: [(&str, Color, Value); 3] = [
        ("blocks/s", Color::Cyan, |pace| pace.blocks),
        ("tx/s", Color::Green, |pace| pace.transactions),
        ("latency, ms", Color::Yellow, |pace| {
            let latency = pace.latency.unwrap_or_default().as_micros() / 100;
            u64::try_from(latency).unwrap_or(u64::MAX)
        }),
    ];
    let equal = [Constraint::Fill(1); 3];
    let areas: [Rect; 3] = match area.height >= STACKED {
        true => Layout::vertical(equal).areas(area),
        false => Layout::horizontal(equal).areas(area),
    };
    for ((title, colour, tenths), area) in plots.into_iter().zip(areas) {
        draw_plot(frame, area, view, title, colour, tenths);
    }
}

/// The newest is on the right; the scale begins at zero.
fn draw_plot(
    frame: &mut Frame<'_>,
    area: Rect,
    view: &View,
    title: &str,
    colour: Color,
    value: Value,
) {
    // Two dots a cell. What was not seen yet takes no room, as soon as there is a curve.
    let room = usize::from(area.width.saturating_sub(2)) * 2;
    let newest = view.paces.iter().rev().take(room).map(value);
    let points: Vec<(f64, f64)> = (0u32..)
        .zip(newest.clone())
        .map(|(back, tenths)| (-f64::from(back), tenths as f64))
        .collect();
    let most = newest.max().unwrap_or(0);
    let span = points.len().clamp(SHORTEST.min(room.max(2)), room.max(2)) - 1;
    let title = format!(" {title} ");
    let most_text = Line::from(format!(" most {} ", tenths(most))).right_aligned();
    let block = pane(title, false).title_top(most_text.dark_gray());
    let curve = Dataset::default()
        .marker(Marker::Braille)
        .graph_type(GraphType::Line)
        .style(Style::new().fg(colour))
        .data(&points);
    let plot = Chart::new(vec![curve])
        .x_axis(Axis::default().bounds([-(span as f64), 0.0]))
        // A little above, so that the line is not in the corner of a cell.
        .y_axis(Axis::default().bounds([0.0, most.max(1) as f64 * 1.05]))
        .block(block);
    frame.render_widget(plot, area);
}

fn draw_problems(frame: &mut Frame<'_>, area: Rect, view: &View) {
    let (lines, title) = match view.problems.is_empty() {
        true => (vec![Line::from("no problem found").green()], " problems "),
        false => {
            let problems = view.problems.iter();
            let lines = problems.map(|text| Line::from(text.clone())).collect();
            (lines, " problems; quorate doctor says what to do ")
        }
    };
    let block = pane(String::from(title), !view.problems.is_empty());
    let text = Paragraph::new(lines).wrap(Wrap { trim: true });
    frame.render_widget(text.block(block), area);
}

/// Lines of the pane of problems, its frame included.
fn problem_lines(view: &View, width: u16) -> u16 {
    let width = usize::from(width.saturating_sub(2)).max(1);
    // Words are wrapped, not letters: a line more for each that is wrapped.
    let lines = view.problems.iter().map(|text| {
        let full = text.chars().count().div_ceil(width);
        if full > 1 { full + 1 } else { 1 }
    });
    u16::try_from(lines.sum::<usize>() + 2).unwrap_or(u16::MAX)
}

fn pane(title: String, alarming: bool) -> Block<'static> {
    let border = if alarming {
        Color::Red
    } else {
        Color::DarkGray
    };
    Block::bordered()
        .border_style(Style::new().fg(border))
        .title(Line::from(title).style(Style::reset().add_modifier(Modifier::BOLD)))
}

fn tenths(tenths: u64) -> String {
    format!("{}.{}", tenths / 10, tenths % 10)
}

fn millis(time: Duration) -> String {
    format!("{:.0} ms", time.as_secs_f64() * 1e3)
}

fn none() -> String {
    String::from("-")
}
