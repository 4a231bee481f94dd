//! Worlds that failed once: each must pass now, and its file tells what was wrong.

use std::fs;
use std::path::Path;

use quorate_sim::run::run_plan;
use quorate_sim::shrink::Case;

#[test]
fn what_failed_once_passes_now() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/regressions");
    let files = fs::read_dir(folder)
        .unwrap()
        .map(|file| file.unwrap().path());
    let mut count = 0;
    for file in files.filter(|file| file.extension().is_some_and(|end| end == "json")) {
        let case = Case::from_json(&fs::read_to_string(&file).unwrap()).unwrap();
        assert!(case.story.len() > 40, "{} has no story", file.display());
        let outcome = run_plan(case.plan, false);
        let failure = outcome.as_ref().err().map(ToString::to_string);
        assert_eq!(
            outcome.is_err(),
            case.fails,
            "{}: {failure:?}",
            file.display()
        );
        count += 1;
    }
    assert!(count > 0);
}
