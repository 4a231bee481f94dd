//! `quorate doctor --home`, in situations that were made on purpose: it names the cause.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

struct Net(tempfile::TempDir);

/// How a doctor's visit ended: status, and codes by severity.
struct Visit {
    status: i32,
    said: String,
}

impl Visit {
    fn found(&self, severity: &str, code: &str) -> bool {
        let value: serde_json::Value = serde_json::from_str(&self.said).expect("JSON");
        let findings = value["findings"].as_array().expect("a list");
        findings
            .iter()
            .any(|f| f["severity"] == severity && f["code"] == code)
    }
}

impl Net {
    /// A testnet whose ports are free: nothing of it runs.
    fn new() -> Net {
        Net::of(4)
    }

    fn of(validators: usize) -> Net {
        let net = Net(tempfile::tempdir().expect("a temporary directory"));
        let output = net.path("net").display().to_string();
        let made = Command::new(env!("CARGO_BIN_EXE_quorate"))
            .args(["testnet", "--output", &output, "--base-port", "20000"])
            .args(["--validators", &validators.to_string()])
            .output();
        assert!(made.expect("the binary runs").status.success());
        // Whatever else runs on this machine: the system chooses.
        for index in 0..validators {
            let config = net.home(index).join("config.toml");
            let text = fs::read_to_string(&config).expect("testnet wrote it");
            let lines = text.lines().map(|line| match line.starts_with("listen") {
                true => "listen = \"127.0.0.1:0\"",
                false => line,
            });
            let text = lines.collect::<Vec<_>>().join("\n");
            fs::write(&config, text).expect("writable");
        }
        net
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn home(&self, index: usize) -> PathBuf {
        self.path(&format!("net/validator-{index}"))
    }
}

fn visit(home: &Path, more: &[&str]) -> Visit {
    let output = Command::new(env!("CARGO_BIN_EXE_quorate"))
        .args(["doctor", "--output", "json", "--home"])
        .arg(home)
        .args(if more.is_empty() {
            &["--min-free", "1"]
        } else {
            more
        })
        .env_clear()
        .stdin(Stdio::null())
        .output()
        .expect("the binary runs");
    Visit {
        status: output.status.code().expect("no signal"),
        said: String::from_utf8_lossy(&output.stdout).into_owned(),
    }
}

fn names(home: &Path, code: &str) {
    let visit = visit(home, &[]);
    assert_eq!(visit.status, 1, "{code}: {}", visit.said);
    assert!(visit.found("problem", code), "{code}: {}", visit.said);
}

#[test]
fn a_sound_home_has_no_problem_and_is_not_changed() {
    let net = Net::new();
    let before = fs::read_dir(net.home(0)).expect("there").count();
    let visit = visit(&net.home(0), &[]);
    assert_eq!(visit.status, 0, "{}", visit.said);
    assert!(visit.found("note", "does_not_run"), "{}", visit.said);
    assert!(!net.home(0).join("LOCK").exists());
    assert_eq!(fs::read_dir(net.home(0)).expect("there").count(), before);
}

#[test]
fn what_is_wrong_with_the_files_of_a_home_is_named() {
    let net = Net::new();
    let (home, other) = (net.home(0), net.home(1));
    names(&net.path("nowhere"), "no_home");
    // Each is put right again before the next.
    let spoil = |name: &str, bytes: Option<&[u8]>, code: &str| {
        let path = home.join(name);
        let (kept, mode) = (
            fs::read(&path),
            fs::metadata(&path).map(|m| m.permissions()),
        );
        match bytes {
            Some(bytes) => fs::write(&path, bytes).expect("writable"),
            None => fs::remove_file(&path).expect("there"),
        }
        names(&home, code);
        match kept {
            Ok(kept) => fs::write(&path, kept).expect("writable"),
            Err(_) => fs::remove_file(&path).expect("made here"),
        }
        if let Ok(mode) = mode {
            fs::set_permissions(&path, mode).expect("own file");
        }
    };
    let of_other = |name: &str| fs::read(other.join(name)).expect("testnet wrote it");
    spoil("config.toml", Some(b"[api]\nport = 1\n"), "bad_config");
    spoil("genesis.json", None, "no_genesis");
    spoil("genesis.json", Some(b"{"), "bad_genesis");
    spoil("genesis.consents.json", Some(b"[]"), "changed_genesis");
    spoil("keys/network.pem", None, "bad_key");
    spoil("keys/consensus.pem", Some(b"junk"), "bad_key");
    let foreign = of_other("keys/network.pem");
    spoil("keys/network.pem", Some(&foreign), "wrong_network_key");
    let foreign = of_other("keys/consensus.pem");
    spoil("keys/consensus.pem", Some(&foreign), "mixed_home");
    let key = home.join("keys/consensus.pem");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).expect("own file");
    names(&home, "bad_key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).expect("own file");
    let strange = Net::new();
    let foreign = fs::read(strange.home(0).join("genesis.json")).expect("there");
    spoil("genesis.json", Some(&foreign), "not_a_validator");
    assert_eq!(visit(&home, &[]).status, 0, "all is right again");
}

#[test]
fn what_is_wrong_with_data_and_machine_is_named() {
    let net = Net::new();
    let home = net.home(2);
    // Data without its safety, and the other way round.
    fs::create_dir(home.join("data")).expect("new");
    fs::write(home.join("data/CURRENT"), "x").expect("new");
    names(&home, "safety_lost");
    fs::remove_file(home.join("data/CURRENT")).expect("there");
    fs::create_dir(home.join("safety")).expect("new");
    fs::write(
        home.join("safety/ceiling"),
        "quorate ceiling 1\nround 0:2048\n",
    )
    .expect("new");
    names(&home, "data_lost");
    fs::remove_dir_all(home.join("safety")).expect("there");
    // A port, and a process that holds the home without answering.
    let held = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let config = home.join("config.toml");
    let text = fs::read_to_string(&config).expect("there");
    let address = held.local_addr().expect("bound").to_string();
    let taken = text.replace("127.0.0.1:0", &address);
    fs::write(&config, &taken).expect("writable");
    names(&home, "port_taken");
    drop(held);
    let lock = fs::File::create(home.join("LOCK")).expect("new");
    lock.try_lock().expect("nobody else's");
    names(&home, "admin_silent");
    drop(lock);
    fs::write(&config, text).expect("writable");
    // Disk and limits.
    let disk = visit(&home, &["--min-free", &u64::MAX.to_string()]);
    assert!(disk.found("warning", "disk_nearly_full"), "{}", disk.said);
    let command = format!(
        "ulimit -n 256; {} doctor --output json --home {}",
        env!("CARGO_BIN_EXE_quorate"),
        home.display()
    );
    let output = Command::new("bash")
        .args(["-c", &command])
        .output()
        .expect("a shell");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("few_files"), "{said}");
}

#[test]
fn an_encrypted_key_without_its_passphrase_is_no_problem_but_said() {
    let net = Net::new();
    let home = net.path("alone");
    let passphrase = net.path("passphrase");
    fs::write(&passphrase, "secret").expect("writable");
    fs::set_permissions(&passphrase, fs::Permissions::from_mode(0o600)).expect("own file");
    let made = Command::new(env!("CARGO_BIN_EXE_quorate"))
        .args([
            "init",
            "--encrypt",
            "--name",
            "alone",
            "--address",
            "a.example:1",
        ])
        .arg("--home")
        .arg(&home)
        .arg("--passphrase-file")
        .arg(&passphrase)
        .args([
            "--set",
            "network.listen=127.0.0.1:0",
            "--set",
            "api.listen=127.0.0.1:0",
        ])
        .args(["--set", "admin.listen=127.0.0.1:0"])
        .output()
        .expect("the binary runs");
    assert!(made.status.success());
    let visit = visit(&home, &[]);
    assert!(visit.found("note", "encrypted_key"), "{}", visit.said);
    assert!(visit.found("problem", "no_genesis"), "{}", visit.said);
}

#[test]
fn a_set_of_a_size_that_tolerates_no_more_than_a_smaller_one_is_noted() {
    let net = Net::of(3);
    let visit = visit(&net.home(0), &[]);
    assert_eq!(visit.status, 0, "{}", visit.said);
    assert!(visit.found("note", "validator_count"), "{}", visit.said);
}

/// A file system of 48 MiB in a mount namespace of its own, in which `script` runs with the home as `$1`. None where the
/// kernel gives this user no namespace: a container without the right to mount.
fn on_a_small_disk(home: &Path, script: &str) -> Option<std::process::Output> {
    let small = tempfile::tempdir().expect("a temporary directory");
    let mount = "mount -t tmpfs -o size=48m quorate \"$0\"";
    let run = |script: &str| {
        Command::new("unshare")
            .args(["--mount", "--map-root-user", "sh", "-c", script])
            .arg(small.path())
            .arg(home)
            .env("QUORATE", env!("CARGO_BIN_EXE_quorate"))
            .stdin(Stdio::null())
            .output()
            .ok()
    };
    run(mount).filter(|output| output.status.success())?;
    run(&format!("{mount} && cp -a \"$1\" \"$0/home\" && {script}"))
}

#[test]
fn a_full_disk_is_named_by_the_doctor_and_by_the_start_that_it_stops() {
    let net = Net::new();
    let script = "\"$QUORATE\" doctor --output json --home \"$0/home\"";
    let Some(output) = on_a_small_disk(&net.home(0), script) else {
        eprintln!("not tried: this user may not mount a file system");
        return;
    };
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    let status = 1;
    let visit = Visit { status, said };
    assert!(visit.found("problem", "disk_full"), "{}", visit.said);
    // Filled to the last byte, it cannot start; and says what to do.
    let fill = "dd if=/dev/zero of=\"$0/rest\" bs=64k 2>/dev/null";
    let script = format!("{{ {fill}; \"$QUORATE\" start --home \"$0/home\"; }}");
    let output = on_a_small_disk(&net.home(0), &script).expect("it could mount before");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("make room on the disk"), "{said}");
}

/// What a validator that was killed left of a snapshot or a backup was removed behind the opening of the store, which has
/// to write: on a full disk it could not start although gigabytes would have been free a moment later.
#[test]
fn what_a_killed_validator_left_on_a_full_disk_is_removed_by_its_start() {
    let net = Net::new();
    let script = r#"
        start() {
            "$QUORATE" start --home "$0/home" 2>"$0.log" & process=$!
            while kill -0 $process && ! grep -q '"event":"started"' "$0.log"; do sleep 0.1; done 2>/dev/null
            kill $process 2>/dev/null
            wait $process; status=$?
            cat "$0.log" >&2; rm "$0.log"
            [ $status = 0 ] || exit $status
        }
        start
        for left in snapshots/00000000000000000007.new backup.checkpoint; do
            mkdir -p "$0/home/$left"
            dd if=/dev/zero of="$0/home/$left/part" bs=1M count=12
        done 2>/dev/null
        dd if=/dev/zero of="$0/rest" bs=64k 2>/dev/null
        start
        ls "$0/home" "$0/home/snapshots""#;
    let Some(output) = on_a_small_disk(&net.home(0), script) else {
        eprintln!("not tried: this user may not mount a file system");
        return;
    };
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{said}");
    let listed = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(listed.contains("snapshots"), "{listed}");
    assert!(!listed.contains("checkpoint"), "{listed}");
    assert!(!listed.contains(".new"), "{listed}");
}
