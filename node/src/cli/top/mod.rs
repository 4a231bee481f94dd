//! `quorate top`: the set, live in a terminal.
//!
//! One thread asks, one draws, so that a silent validator does not hold up the keyboard. [`draw`] is a function of the
//! [`View`] alone.

use std::collections::VecDeque;
use std::io::IsTerminal as _;
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use quorate_client::Client;
use ratatui::Frame;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style, Stylize as _};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Paragraph, Row, Sparkline, Table};

use super::context::{Context, runtime};
use super::doctor::headlines;
use super::pace::{Counts, Pace};
use super::survey::{Survey, Window};
use crate::exit::{ExitStatus, Failure};

/// How often the keyboard is looked at while nothing is new.
const TICK: Duration = Duration::from_millis(100);
/// Rates that are remembered: the width of the plot.
const HISTORY: usize = 240;

/// Shows the validators of the profile live: rates, commit latency, heights,
/// votes, connections, queues. q quits.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  quorate --profile net/client.toml top
  quorate --profile net/client.toml top --interval 0.5

transactions/s  executed, at the validator that executes most
commit latency  mean from a block's time to its commit, by the clocks of
                all validators, since the look before
missed  certificates of the newest 32 without its vote; a certificate
        holds exactly a quorum, so each misses some
rtt     from here to its HTTP port and back
Works at 80x24. Keys: q quits.")]
pub(super) struct Top {
    /// Seconds from one look to the next
    #[arg(long, default_value_t = 1.0, value_name = "SECONDS")]
    interval: f64,
}

/// What is drawn.
#[derive(Debug)]
struct View {
    survey: Survey,
    /// Mean time from block to block.
    interval: Option<Duration>,
    /// From each look to the next; the newest last.
    paces: VecDeque<Pace>,
    problems: Vec<String>,
}

impl Top {
    pub(super) fn run(self, context: &Context) -> Result<ExitStatus, Failure> {
        let client = context.client()?;
        let interval = Duration::try_from_secs_f64(self.interval)
            .ok()
            .filter(|interval| (50..=3_600_000).contains(&interval.as_millis()))
            .ok_or_else(|| Failure::usage("--interval is 0.05 to 3600 seconds"))?;
        if !std::io::stdout().is_terminal() {
            let message = "top needs a terminal";
            return Err(Failure::usage(message).hint("quorate status --output json"));
        }
        let views = watch(client, interval)?;
        let mut terminal = ratatui::try_init()
            .map_err(|error| Failure::failed(format!("the terminal: {error}")))?;
        let shown = show(&mut terminal, &views);
        ratatui::restore();
        shown.map_err(|error| Failure::failed(format!("the terminal: {error}")))?;
        Ok(ExitStatus::Done)
    }
}

/// Asks again and again, on a thread of its own that ends when nobody listens.
fn watch(client: Client, interval: Duration) -> Result<Receiver<View>, Failure> {
    let (send, views) = mpsc::channel();
    let runtime = runtime()?;
    let look = move || {
        let mut window = Window::default();
        let mut paces = VecDeque::new();
        let mut before: Option<Counts> = None;
        loop {
            let survey = runtime.block_on(Survey::take(&client, &mut window));
            if let Some(counts) = Counts::of(&survey, Instant::now()) {
                paces.extend(before.map(|before| counts.since(&before)));
                before = Some(counts);
            }
            while paces.len() > HISTORY {
                paces.pop_front();
            }
            let view = View {
                problems: headlines(&survey),
                interval: window.interval(),
                paces: paces.clone(),
                survey,
            };
            if send.send(view).is_err() {
                return;
            }
            // Inside the runtime: a timer needs one when it is made.
            runtime.block_on(async { tokio::time::sleep(interval).await });
        }
    };
    std::thread::Builder::new()
        .name(String::from("survey"))
        .spawn(look)
        .map_err(|error| Failure::failed(format!("cannot start a thread: {error}")))?;
    Ok(views)
}

fn show(terminal: &mut ratatui::DefaultTerminal, views: &Receiver<View>) -> std::io::Result<()> {
    let mut view = None;
    loop {
        view = views.try_iter().last().or(view);
        terminal.draw(|frame| match &view {
            Some(view) => draw(frame, view),
            None => frame.render_widget(Paragraph::new("asking the validators ..."), frame.area()),
        })?;
        if event::poll(TICK)?
            && let Event::Key(key) = event::read()?
            && key.kind == KeyEventKind::Press
        {
            let interrupted =
                key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
            if interrupted || matches!(key.code, KeyCode::Char('q') | KeyCode::Esc) {
                return Ok(());
            }
        }
    }
}

fn draw(frame: &mut Frame<'_>, view: &View) {
    let members = u16::try_from(view.survey.members.len().max(1)).unwrap_or(u16::MAX);
    // Above all the table; what is left is the plot's, down to nothing.
    let areas = Layout::vertical([
        Constraint::Length(4),
        Constraint::Length(members.saturating_add(3)),
        Constraint::Length(5),
        Constraint::Min(3),
    ]);
    let [head, table, plots, problems] = areas.areas(frame.area());
    frame.render_widget(heading(view), head);
    draw_table(frame, table, view);
    let [left, right] = Layout::horizontal([Constraint::Fill(1); 2]).areas(plots);
    draw_plot(frame, left, view, "blocks", |pace| pace.blocks);
    draw_plot(frame, right, view, "transactions", |pace| pace.transactions);
    draw_problems(frame, problems, view);
}

fn heading(view: &View) -> Paragraph<'static> {
    let survey = &view.survey;
    let Some(best) = survey.best() else {
        return Paragraph::new("no validator answers").red();
    };
    let chain: String = survey.chain.to_string().chars().take(16).collect();
    let leader = best.leader.map(|index| survey.name(index));
    let age = survey.head_age().unwrap_or_default().as_secs_f64();
    let pace = view.paces.back().copied().unwrap_or_default();
    let per_second = |tenths: u64| format!("{}.{}", tenths / 10, tenths % 10);
    // While nothing is committed, what it was last.
    let latency = view.paces.iter().rev().find_map(|pace| pace.latency);
    let latency = match latency {
        Some(latency) => format!("{:.0} ms", latency.as_secs_f64() * 1e3),
        None => String::from("unknown"),
    };
    let interval = match view.interval {
        Some(interval) => format!("a block every {:.0} ms", interval.as_secs_f64() * 1e3),
        None => String::from("no blocks yet"),
    };
    let queued: u64 = survey.answers().map(|s| s.mempool_transactions).sum();
    let bytes: u64 = survey.answers().map(|s| s.mempool_bytes).sum();
    Paragraph::new(vec![
        Line::from(vec![
            Span::from("quorate ").bold(),
            Span::from(format!("{} {chain}", best.name)),
            Span::from("   q quits").dark_gray(),
        ]),
        Line::from(format!(
            "height {}, {age:.1} s old   {} blocks/s   {interval}",
            best.height,
            per_second(pace.blocks),
        )),
        Line::from(format!(
            "{} transactions/s   commit latency {latency}",
            per_second(pace.transactions),
        )),
        Line::from(format!(
            "round {}, leader {}   quorum {} of {}   queued {queued} ({} KiB)",
            best.round,
            leader.as_deref().unwrap_or("unknown"),
            survey.quorum(),
            survey.size(),
            bytes >> 10,
        )),
    ])
}

fn draw_table(frame: &mut Frame<'_>, area: Rect, view: &View) {
    let survey = &view.survey;
    let header = [
        "validator",
        "height",
        "behind",
        "peers",
        "seen",
        "missed",
        "rtt",
        "queue",
        "ready",
    ];
    let head = survey.head();
    let leader = survey.best().and_then(|best| best.leader);
    let rows = survey.members.iter().map(|member| {
        let seen = format!("{}/{}", member.connected_from, member.asked);
        let missed = (survey.certificates - member.votes.min(survey.certificates)).to_string();
        let row = member.row.and_then(|row| survey.rows.get(row));
        let mark = if leader == Some(member.index) {
            "*"
        } else {
            " "
        };
        let name = format!("{mark}{}", member.name);
        let Some((row, status)) = row.and_then(|row| Some((row, row.status.as_ref().ok()?))) else {
            let dash = || String::from("-");
            let cells = [name, dash(), dash(), dash(), seen, missed, dash(), dash()];
            let cells = cells.into_iter().chain([String::from("silent")]);
            return Row::new(cells).style(Style::new().fg(Color::Red));
        };
        let behind = head.map_or(0, |head| head.above(status.height));
        let style = match (status.ready, behind) {
            (false, _) => Style::new().fg(Color::Red),
            (true, 17..) => Style::new().fg(Color::Yellow),
            _ => Style::new(),
        };
        Row::new([
            name,
            status.height.to_string(),
            behind.to_string(),
            format!(
                "{}/{}",
                status.peers_connected,
                status.validators.saturating_sub(1)
            ),
            seen,
            missed,
            format!("{:.0} ms", row.round_trip.as_secs_f64() * 1e3),
            status.mempool_transactions.to_string(),
            String::from(if status.ready { "yes" } else { "NO" }),
        ])
        .style(style)
    });
    let widths = [18, 9, 6, 6, 6, 6, 7, 6, 6].map(Constraint::Length);
    let title = format!(
        " validators; votes of {} certificates ",
        survey.certificates
    );
    let table = Table::new(rows, widths)
        .header(Row::new(header).style(Style::new().add_modifier(Modifier::BOLD)))
        .column_spacing(1)
        .block(Block::bordered().title(title));
    frame.render_widget(table, area);
}

fn draw_plot(frame: &mut Frame<'_>, area: Rect, view: &View, what: &str, rate: fn(&Pace) -> u64) {
    let block = Block::bordered();
    let room = usize::from(block.inner(area).width);
    let newest: Vec<u64> = {
        let skipped = view.paces.len().saturating_sub(room);
        view.paces.iter().skip(skipped).map(rate).collect()
    };
    let most = newest.iter().max().copied().unwrap_or(0) as f64 / 10.0;
    let block = block.title(format!(" {what} a second, up to {most:.1} "));
    let plot = Sparkline::default().data(&newest).block(block);
    frame.render_widget(plot, area);
}

fn draw_problems(frame: &mut Frame<'_>, area: Rect, view: &View) {
    let block = Block::bordered();
    let text = match view.problems.is_empty() {
        true => vec![Line::from("no problem found").green()],
        false => view
            .problems
            .iter()
            .map(|text| Line::from(text.clone()).red())
            .collect(),
    };
    let block = block.title(" problems; quorate doctor says what to do ");
    let shown = Paragraph::new(text).wrap(ratatui::widgets::Wrap { trim: true });
    frame.render_widget(shown.block(block), area);
}

#[cfg(test)]
mod tests {
    use super::super::survey::samples::{four, without};
    use super::*;
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    const PAGE: &str = include_str!("top.page.md");

    /// A test terminal writes each line in quotation marks.
    fn unquoted(screen: &str) -> String {
        let lines = screen.lines().map(|line| line.trim_matches('"').trim_end());
        lines.collect::<Vec<_>>().join("\n")
    }

    fn screen(survey: Survey, width: u16, height: u16) -> String {
        let view = View {
            problems: headlines(&survey),
            interval: Some(Duration::from_millis(40)),
            paces: (0..100)
                .map(|at| Pace {
                    blocks: 200 + at % 50,
                    transactions: 8_000 + 31 * (at % 40),
                    latency: (at < 99).then_some(Duration::from_millis(37)),
                })
                .collect(),
            survey,
        };
        let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("memory");
        terminal.draw(|frame| draw(frame, &view)).expect("memory");
        terminal.backend().to_string()
    }

    #[test]
    fn a_healthy_set_fits_eighty_by_twenty_four() {
        let screen = screen(four(), 80, 24);
        let page = PAGE.replace("SCREEN", &unquoted(&screen));
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/reference/top.md");
        if std::env::var_os("QUORATE_BLESS").is_some() {
            std::fs::write(path, &page).expect("the source tree is writable");
        }
        let kept = std::fs::read_to_string(path).expect("kept with the documentation");
        assert_eq!(page, kept, "QUORATE_BLESS=1 keeps the new one");
        assert!(screen.contains("no problem found"));
    }

    #[test]
    fn what_is_wrong_is_seen_at_any_size() {
        let lost = without(four(), &[2, 3]);
        let text = screen(lost.clone(), 80, 24);
        assert!(
            text.contains("silent") && text.contains("nothing commits"),
            "{text}"
        );
        for (width, height) in [(80, 24), (40, 10), (10, 3), (200, 60), (1, 1)] {
            let _ = screen(lost.clone(), width, height);
        }
    }

    #[test]
    fn looks_follow_each_other_even_if_nobody_answers() {
        let profile = quorate_client::Profile {
            endpoints: vec![String::from("http://127.0.0.1:1")],
            chain: quorate_types::ChainId::default(),
            genesis: None,
            keys: None,
        };
        let client = Client::new(profile, Duration::from_secs(1)).expect("an endpoint");
        let views = watch(client, Duration::from_millis(50)).expect("a thread");
        for _ in 0..2 {
            let view = views.recv_timeout(Duration::from_secs(30)).expect("a look");
            assert!(view.survey.head().is_none());
        }
    }
}
