//! `quorate top`: the set, live in a terminal.
//!
//! One thread asks, one draws, so that a silent validator does not hold up the keyboard. What is drawn follows from the
//! [`View`] and the [`Keys`] alone.

mod draw;
#[cfg(test)]
mod picture;

use std::collections::VecDeque;
use std::io::IsTerminal as _;
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use quorate_client::Client;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use ratatui::widgets::Paragraph;

use super::context::{Context, runtime};
use super::doctor::headlines;
use super::pace::{Counts, Pace};
use super::survey::{Survey, Window};
use crate::exit::{ExitStatus, Failure};

/// How often the keyboard is looked at while nothing is new.
const TICK: Duration = Duration::from_millis(100);
/// Looks that are remembered: the width of the widest plot.
const HISTORY: usize = 480;

/// Shows the validators of the profile live: rates, commit latency, heights,
/// votes, connections, queues, and what is wrong. q quits.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  quorate --profile net/client.toml top
  quorate --profile net/client.toml top --interval 0.5

tx/s     executed a second, at the validator that executes most
latency  mean from a block's time to its commit, by the clocks of all
         validators, since the look before
missed   certificates of the newest 32 without its vote; a certificate
         holds exactly a quorum, so each misses some
rtt      from here to its HTTP port and back

Keys: q quits, p holds the picture, the arrows scroll a long set.
Made for 80x24; what is larger has larger plots, what is narrower has
fewer columns. NO_COLOR=1 leaves the colours out.")]
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

/// What was pressed so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Keys {
    /// Validators above the first one that is shown.
    scrolled: usize,
    /// Whether the picture is held.
    paused: bool,
    quit: bool,
}

impl Keys {
    fn press(&mut self, key: KeyEvent, members: usize) {
        let last = members.saturating_sub(1);
        match key.code {
            KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => self.quit = true,
            KeyCode::Char('q') | KeyCode::Esc => self.quit = true,
            KeyCode::Char('p' | ' ') => self.paused = !self.paused,
            KeyCode::Up | KeyCode::Char('k') => self.scrolled = self.scrolled.saturating_sub(1),
            KeyCode::Down | KeyCode::Char('j') => self.scrolled = last.min(self.scrolled + 1),
            KeyCode::Home => self.scrolled = 0,
            KeyCode::End => self.scrolled = last,
            _ => {}
        }
    }
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
    let mut keys = Keys::default();
    while !keys.quit {
        // What is not shown is taken nevertheless: a full channel would hold looks that are long over.
        let newest = views.try_iter().last();
        if !keys.paused || view.is_none() {
            view = newest.or(view);
        }
        terminal.draw(|frame| match &view {
            Some(view) => draw::draw(frame, view, keys),
            None => frame.render_widget(Paragraph::new("asking the validators ..."), frame.area()),
        })?;
        if event::poll(TICK)?
            && let Event::Key(key) = event::read()?
            && key.kind == KeyEventKind::Press
        {
            keys.press(
                key,
                view.as_ref().map_or(0, |view| view.survey.members.len()),
            );
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::survey::samples::{four, without};
    use super::*;
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    const PAGE: &str = include_str!("page.md.in");

    /// A test terminal writes each line in quotation marks.
    fn unquoted(screen: &str) -> String {
        let lines = screen.lines().map(|line| line.trim_matches('"').trim_end());
        lines.collect::<Vec<_>>().join("\n")
    }

    fn view(survey: Survey) -> View {
        View {
            problems: headlines(&survey),
            interval: Some(Duration::from_millis(40)),
            paces: (0..100)
                .map(|at| Pace {
                    blocks: 240 + at * 37 % 23,
                    transactions: 8_000 + 31 * (at % 40) + at * 53 % 97,
                    latency: Some(Duration::from_micros(36_000 + at * 7_919 % 9_000)),
                })
                .collect(),
            survey,
        }
    }

    fn drawn(view: &View, keys: Keys, width: u16, height: u16) -> TestBackend {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("memory");
        terminal
            .draw(|frame| draw::draw(frame, view, keys))
            .expect("memory");
        terminal.backend().clone()
    }

    fn screen(survey: Survey, width: u16, height: u16) -> String {
        drawn(&view(survey), Keys::default(), width, height).to_string()
    }

    /// Compares a file of the documentation with what it should be, or writes it anew.
    fn keep(name: &str, wanted: &str) {
        let path = format!("{}/../docs/{name}", env!("CARGO_MANIFEST_DIR"));
        if std::env::var_os("QUORATE_BLESS").is_some() {
            std::fs::write(&path, wanted).expect("the source tree is writable");
        }
        let kept = std::fs::read_to_string(&path).expect("kept with the documentation");
        assert!(wanted == kept, "{path}: QUORATE_BLESS=1 keeps the new one");
    }

    #[test]
    fn a_healthy_set_fits_eighty_by_twenty_four() {
        let screen = drawn(&view(four()), Keys::default(), 80, 24);
        keep(
            "reference/top.md",
            &PAGE.replace("SCREEN", &unquoted(&screen.to_string())),
        );
        keep("images/top.svg", &picture::svg(screen.buffer()));
        let lost = drawn(&view(without(four(), &[3])), Keys::default(), 80, 24);
        keep("images/top-missing.svg", &picture::svg(lost.buffer()));
        let text = screen.to_string();
        for shown in ["no problem found", "validator-3", "4 of 4 ready", "tx/s"] {
            assert!(text.contains(shown), "{shown}: {text}");
        }
    }

    #[test]
    fn a_narrow_terminal_has_fewer_columns_and_whole_names() {
        let text = screen(four(), 50, 16);
        assert!(
            text.contains("validator-3 ") && text.contains("ready"),
            "{text}"
        );
        assert!(!text.contains("rtt"), "{text}");
    }

    #[test]
    fn a_long_set_is_scrolled_and_never_past_its_end() {
        let mut survey = four();
        let one = survey.members[0].clone();
        survey.members = (0..40)
            .map(|index| {
                let name = format!("member-{index}");
                super::super::survey::Member {
                    index,
                    name,
                    row: None,
                    ..one.clone()
                }
            })
            .collect();
        let view = view(survey);
        let mut keys = Keys::default();
        let text = |keys| drawn(&view, keys, 80, 24).to_string();
        assert!(text(keys).contains("member-0 ") && !text(keys).contains("member-39"));
        assert!(text(keys).contains("problems"), "{}", text(keys));
        for _ in 0..100 {
            keys.press(KeyCode::Down.into(), 40);
        }
        assert!(text(keys).contains("member-39"), "{}", text(keys));
        assert!(text(keys).contains("member-35"), "the last page is full");
        keys.press(KeyCode::Home.into(), 40);
        keys.press(KeyCode::Char('p').into(), 40);
        assert!(text(keys).contains("held"), "{}", text(keys));
        let control_c = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        keys.press(control_c, 40);
        assert!(keys.quit);
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
