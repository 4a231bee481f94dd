//! Several operators make a chain: what docs/OPERATIONS.md tells them to do, done with real processes.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use quorate_scenarios::cluster::{ANSWER, START, binary};
use quorate_scenarios::http;
use quorate_scenarios::ports::Ports;
use quorate_scenarios::wait::eventually;

/// A directory in which several organisations sit, and the processes that they started.
struct Table {
    directory: tempfile::TempDir,
    ports: Ports,
    running: Vec<Child>,
}

impl Drop for Table {
    fn drop(&mut self) {
        for child in &mut self.running {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Table {
    fn new(organisations: u16) -> Table {
        Table {
            directory: tempfile::tempdir().expect("a temporary directory"),
            ports: Ports::reserve(organisations),
            running: Vec::new(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn port(&self, organisation: usize, which: u16) -> u16 {
        self.ports.base() + 10 * u16::try_from(organisation).expect("few") + which
    }

    /// The machines of the book are all this one.
    fn here(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (organisation, letter) in "abcd".chars().enumerate() {
            for (theirs, which) in [(7650, 0), (7651, 1)] {
                let ours = format!("127.0.0.1:{}", self.port(organisation, which));
                text = text.replace(&format!("{letter}.example:{theirs}"), &ours);
            }
        }
        text
    }

    fn shell(&self, text: &str) -> (i32, String) {
        let folder = binary().parent().expect("a folder").display().to_string();
        let path = std::env::var("PATH").unwrap_or_default();
        let output = Command::new("bash")
            .args(["-euc", &self.here(text)])
            .current_dir(self.directory.path())
            .env("PATH", format!("{folder}:{path}"))
            .stdin(Stdio::null())
            .output()
            .expect("a shell");
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said).into_owned();
        (output.status.code().unwrap_or(-1), said)
    }

    fn does(&self, text: &str) -> String {
        let (status, said) = self.shell(text);
        assert_eq!(status, 0, "{text}\n{said}");
        said
    }

    fn refuses(&self, text: &str, expected: i32, message: &str) {
        let (status, said) = self.shell(text);
        assert_eq!(status, expected, "{text}\n{said}");
        assert!(said.contains(message), "{text}\n{said}");
    }

    /// Starts what a block says, in the background, on ports of its own.
    fn start(&mut self, organisation: usize, block: &str) {
        let words: Vec<&str> = block.split_whitespace().collect();
        let log = self.path(&format!("{organisation}.log"));
        let log = File::create(log).expect("writable");
        let local = |which| format!("127.0.0.1:{}", self.port(organisation, which));
        let child = Command::new(binary())
            .args(&words[1..])
            .current_dir(self.directory.path())
            .env("QUORATE_API__LISTEN", local(1))
            .env("QUORATE_ADMIN__LISTEN", local(2))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn();
        self.running.push(child.expect("the binary starts"));
    }

    fn stop_all(&mut self) {
        for mut child in self.running.drain(..) {
            let told = Command::new("kill").arg(child.id().to_string()).status();
            assert!(told.expect("a signal").success());
            assert!(child.wait().expect("a child").success());
        }
    }

    fn wait_ready(&self, organisation: usize) {
        let admin = ([127, 0, 0, 1], self.port(organisation, 2)).into();
        eventually(START, "ready", || {
            let answer = http::get(admin, "/readyz", ANSWER).ok()?;
            (answer.status == 200).then_some(())
        });
    }
}

/// The marked blocks of the book, in order.
fn blocks() -> Vec<(String, String)> {
    let book = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/OPERATIONS.md");
    let book = fs::read_to_string(book).expect("the book");
    let mut blocks = Vec::new();
    for part in book.split("<!-- ceremony: ").skip(1) {
        let (kind, rest) = part.split_once(" -->").expect("a marker ends");
        let (_, rest) = rest.split_once("```sh\n").expect("a block follows");
        let (block, _) = rest.split_once("```").expect("a block ends");
        blocks.push((kind.to_owned(), block.to_owned()));
    }
    blocks
}

/// What A does, as another organisation does it.
fn as_done_by(block: &str, letter: char, all: &str) -> String {
    block
        .lines()
        .map(|line| match line.contains("verify") {
            true => line.to_owned(), // names all
            false => line
                .replace("org-a", &format!("org-{letter}"))
                .replace("a.example", &format!("{letter}.example")),
        })
        .map(|line| match all.len() {
            4 => line.replace(
                "org-c.consent.json",
                "org-c.consent.json org-d.consent.json",
            ),
            _ => line,
        })
        .collect::<Vec<_>>()
        .join("\n")
}

fn follows_the_book(all: &str) {
    let organisations = u16::try_from(all.len()).expect("few");
    let mut table = Table::new(organisations);
    let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
    for (kind, block) in blocks() {
        *kinds.entry(kind.clone()).or_default() += 1;
        match kind.as_str() {
            "each" => all.chars().for_each(|letter| {
                table.does(&as_done_by(&block, letter, all));
            }),
            "start" => {
                for (organisation, letter) in all.chars().enumerate() {
                    table.start(organisation, &as_done_by(&block, letter, all));
                }
                (0..all.len()).for_each(|organisation| table.wait_ready(organisation));
            }
            "once" if all.len() == 4 => {
                table.does(&block.replace("org-c.json", "org-c.json org-d.json"));
            }
            _ => {
                let said = table.does(&block);
                assert!(kind != "client" || said.contains("version 1"), "{said}");
            }
        }
    }
    assert_eq!(kinds["each"], 3);
    assert_eq!((kinds["once"], kinds["start"], kinds["client"]), (1, 1, 1));
    // No private key is readable by anybody else, and none has left its home.
    table.does(
        "test -z \"$(find org-* -name '*.pem' ! -perm 600)\"; ! grep -l PRIVATE *.json org-*/*.json",
    );
}

#[test]
fn three_organisations_start_a_chain_from_the_book() {
    follows_the_book("abc");
}

#[test]
fn four_organisations_start_a_chain_from_the_book() {
    follows_the_book("abcd");
}

/// Everything up to the signatures, of three organisations whose keys have passphrases.
fn signed() -> Table {
    let table = Table::new(3);
    table.does("echo secret > pass; chmod 600 pass");
    for letter in ["a", "b", "c"] {
        table.does(&format!(
            "quorate --passphrase-file pass init --home org-{letter} --name org-{letter} \
             --address {letter}.example:7650 --encrypt; cp org-{letter}/validator.json org-{letter}.json"
        ));
    }
    table.does("quorate genesis new genesis.json --name trade");
    table.does("quorate genesis add-validator genesis.json org-a.json org-b.json org-c.json");
    for letter in ["a", "b", "c"] {
        table.does(&format!(
            "quorate --passphrase-file pass genesis sign genesis.json --home org-{letter}"
        ));
    }
    table
}

#[test]
fn what_was_forged_or_changed_is_refused_with_its_reason() {
    let table = signed();
    let install = "quorate genesis install genesis.json *.consent.json --home org-a";
    // Descriptors.
    let new = "cp genesis.json g.json; quorate genesis add-validator g.json";
    table.refuses(&format!("{new} org-a.json"), 3, "org-a appears twice");
    table.refuses(
        &format!("sed 's/org-a/org-x/' org-a.json > x.json; {new} x.json"),
        6,
        "was changed",
    );
    table.refuses(
        &format!("grep -v '\"proof\"' org-a.json > x.json; {new} x.json"),
        3,
        "the proof of possession of \"org-a\" is missing",
    );
    table.refuses(
        &format!(
            "p=$(grep '\"proof\"' org-b.json); sed \"s|.*\\\"proof\\\".*|$p|\" org-a.json > x.json; {new} x.json"
        ),
        6,
        "the proof of possession of \"org-a\" does not verify",
    );
    table.does("rm g.json x.json");
    // Signatures.
    let verify = "quorate genesis verify";
    table.refuses(
        &format!("{verify} genesis.json org-a.consent.json org-b.consent.json"),
        6,
        "not signed by org-c",
    );
    table.refuses(
        &format!("sed 's/trade/fraud/' genesis.json > g.json; {verify} g.json *.consent.json"),
        6,
        "signed chain",
    );
    table.refuses(
        "s=$(grep '\"signature\"' org-b.consent.json); \
         sed \"s|.*\\\"signature\\\".*|$s|\" org-a.consent.json > x.json; \
         quorate genesis verify genesis.json x.json",
        6,
        "the signature of org-a does not verify",
    );
    // Whom it is about.
    table.does("quorate init --home org-d --name org-d --address d.example:7650");
    for verb in ["sign genesis.json", "install genesis.json *.consent.json"] {
        table.refuses(
            &format!("quorate genesis {verb} --home org-d"),
            3,
            "the consensus key of org-d is not in this genesis",
        );
    }
    table.refuses(
        "quorate init --home org-a --name x --address x:1",
        1,
        "not empty",
    );
    // Passphrases.
    table.refuses(
        "echo wrong > wrong; chmod 600 wrong; \
         quorate --passphrase-file wrong genesis sign genesis.json --home org-a",
        3,
        "the passphrase is wrong",
    );
    table.refuses(
        // Without a terminal, even if the test has one.
        "setsid --wait quorate genesis sign genesis.json --home org-a",
        3,
        "a passphrase is needed",
    );
    // A home with its genesis signs and takes no other one, not even one that it signed before.
    let sign = "quorate --passphrase-file pass genesis sign other.json --home org-a --out";
    table.does("quorate genesis new other.json --name other");
    table.does("quorate genesis add-validator other.json org-a.json");
    table.does(&format!("{sign} before.json"));
    table.does(install);
    let refused = "org-a holds another genesis already";
    table.refuses(&format!("{sign} after.json"), 7, refused);
    table.does("test ! -e after.json");
    let other = "quorate genesis install other.json before.json --home org-a";
    table.refuses(other, 7, refused);
    table.refuses(
        "sed -i 's/trade/fraud/' org-a/genesis.json; \
         CREDENTIALS_DIRECTORY=$PWD quorate start --home org-a",
        3,
        "not what its validators signed",
    );
}

/// What three organisations do to have a chain: `kind` names their homes, `genesis` is a draft. The client is alice.
fn agree_on(table: &Table, kind: &str, genesis: &str) {
    let homes = ["a", "b", "c"].map(|letter| (letter, format!("{kind}-{letter}")));
    for (letter, home) in &homes {
        table.does(&format!(
            "quorate init --home {home} --name org-{letter} --address {letter}.example:7650"
        ));
    }
    let descriptors = homes
        .each_ref()
        .map(|(_, home)| format!("{home}/validator.json"));
    let descriptors = descriptors.join(" ");
    table.does(&format!(
        "quorate genesis add-validator {genesis} {descriptors}"
    ));
    table.does(&format!(
        "quorate genesis add-client {genesis} alice $(cat alice.pub)"
    ));
    for (letter, home) in &homes {
        table.does(&format!(
            "quorate genesis sign {genesis} --home {home} --out {kind}-{letter}.consent.json"
        ));
    }
    for (_, home) in &homes {
        table.does(&format!(
            "quorate genesis install {genesis} {kind}-*.consent.json --home {home}"
        ));
    }
    table.does(&format!(
        "quorate genesis profile {genesis} --out {kind}.toml --endpoint http://a.example:7651"
    ));
}

#[test]
fn several_operators_go_on_from_a_height_that_they_agree_on() {
    let mut table = Table::new(3);
    table.does("quorate keygen alice.pem > alice.pub");
    table.does("quorate genesis new genesis.json --name trade");
    agree_on(&table, "old", "genesis.json");
    let start = |table: &mut Table, kind: &str| {
        for (organisation, letter) in ["a", "b", "c"].into_iter().enumerate() {
            table.start(
                organisation,
                &format!("quorate start --home {kind}-{letter}"),
            );
        }
        (0..3).for_each(|organisation| table.wait_ready(organisation));
    };
    start(&mut table, "old");
    let kv =
        |kind: &str, what: &str| format!("quorate --profile {kind}.toml --key alice.pem kv {what}");
    table.does(&kv("old", "put greeting hello"));
    let made = table.does(&kv("old", "put --output json good known"));
    let made: serde_json::Value = serde_json::from_str(&made).expect("one document");
    let height = made["height"].to_string();
    table.does(&kv("old", "put greeting nonsense"));
    table.stop_all();

    // The chain of a ceremony is forked like any other, at a height that is not its last.
    for letter in ["a", "b"] {
        table.does(&format!(
            "quorate fork --home old-{letter} --at {height} --draft --name again --output draft-{letter}"
        ));
    }
    table.does("cmp draft-a/origin.state draft-b/origin.state");
    table.refuses(
        "quorate fork --home old-a --draft --validators 4 --output x",
        2,
        "cannot be used with",
    );
    table.does("mkdir alone; cp draft-a/genesis.json alone");
    table.refuses(
        "quorate genesis set alone/genesis.json name=x",
        3,
        "starts from another chain's state",
    );
    agree_on(&table, "new", "draft-a/genesis.json");
    // Who holds another state than the one that was agreed on does not sign, and does not take the genesis.
    table.does("quorate fork --home old-c --draft --output other");
    table.does("cp draft-a/genesis.json other/genesis.json");
    for verb in [
        "sign other/genesis.json",
        "install other/genesis.json new-*.consent.json",
    ] {
        table.refuses(
            &format!("quorate genesis {verb} --home new-c"),
            6,
            "is not the state that the genesis names",
        );
    }
    let shown = table.does("quorate genesis show draft-a/genesis.json");
    assert!(
        shown.contains(&format!("origin     height {height} of")),
        "{shown}"
    );

    start(&mut table, "new");
    let get = |table: &Table| table.does(&kv("new", "get greeting"));
    assert_eq!(get(&table).trim(), "hello");
    table.does(&kv("new", "put greeting again"));
    assert_eq!(get(&table).trim(), "again");
    table.stop_all();
    table.does("quorate log verify --home new-b");
}

#[test]
fn a_validator_with_encrypted_keys_starts_with_the_credential_of_its_service() {
    let mut table = Table::new(1);
    table.does("mkdir credentials; echo secret > credentials/quorate.passphrase");
    table.does(
        "export CREDENTIALS_DIRECTORY=$PWD/credentials; \
         quorate init --home org-a --name org-a --address a.example:7650 --encrypt; \
         grep -q ENCRYPTED org-a/keys/consensus.pem; \
         quorate keygen alice.pem --encrypt > alice.pub; \
         quorate genesis new genesis.json --name alone; \
         quorate genesis add-validator genesis.json org-a/validator.json; \
         quorate genesis add-client genesis.json alice $(cat alice.pub); \
         quorate genesis sign genesis.json --home org-a; \
         quorate genesis install genesis.json org-a.consent.json --home org-a; \
         quorate genesis profile genesis.json --out client.toml --endpoint http://a.example:7651",
    );
    table.does(
        "cp credentials/quorate.passphrase old; echo better > new; chmod 600 old new; \
         quorate key change-passphrase alice.pem --passphrase-file old --new-passphrase-file new",
    );
    let file = table.path("credentials/quorate.passphrase");
    fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600))
        .expect("own file");
    table.start(
        0,
        "quorate start --home org-a --passphrase-file credentials/quorate.passphrase",
    );
    table.wait_ready(0);
    let put = "quorate --profile client.toml --key alice.pem --passphrase-file";
    table.does(&format!("{put} new kv put a b"));
    table.refuses(
        &format!("{put} old kv put a b"),
        3,
        "the passphrase is wrong",
    );
}
