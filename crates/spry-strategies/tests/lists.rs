//! Lists without brackets, and options that are too deep or too long.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use spry_strategies::options::{MAX_DEPTH, changed, table_of};

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Options {
    numbers: Vec<i64>,
    names: Vec<String>,
    shares: Vec<f64>,
    count: u64,
    part: Part,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Part {
    numbers: Vec<i64>,
}

fn with(base: &Options, assignments: &[&str]) -> Result<Options, String> {
    let table = table_of(assignments).map_err(|error| error.to_string())?;
    changed(base, &table).map_err(|error| error.to_string())
}

#[test]
fn every_way_to_write_a_list_works_whatever_was_there() {
    let empty = Options::default();
    let full = Options {
        numbers: vec![7],
        names: vec!["x".to_string(), "y".to_string()],
        shares: vec![0.5],
        part: Part { numbers: vec![1, 2, 3] },
        count: 0,
    };
    for base in [empty, full] {
        let numbers = |option: &str| with(&base, &[option]).unwrap().numbers;
        assert_eq!(numbers("numbers=-1"), [-1]);
        assert_eq!(numbers("numbers=-1,-2"), [-1, -2]);
        assert_eq!(numbers("numbers=-1, -2"), [-1, -2]);
        assert_eq!(numbers("numbers=[-1,-2]"), [-1, -2]);
        assert_eq!(numbers("numbers=[]"), [0; 0]);
        assert_eq!(numbers("numbers="), [0; 0]);
        let names = |option: &str| with(&base, &[option]).unwrap().names;
        assert_eq!(names("names=train"), ["train"]);
        assert_eq!(names("names=train,test"), ["train", "test"]);
        assert_eq!(names("names=0,1"), ["0", "1"]);
        assert_eq!(names("names=1"), ["1"]);
        assert_eq!(names("names=true"), ["true"]);
        assert_eq!(names(r#"names=["a,b"]"#), ["a,b"]);
        assert_eq!(names(r#"names="a,b",c"#), ["a,b", "c"]);
        assert_eq!(with(&base, &["shares=0.1,1"]).unwrap().shares, [0.1, 1.0]);
        assert_eq!(with(&base, &["part.numbers=4"]).unwrap().part.numbers, [4]);
        // Several at once, of which some are numbers and some are not.
        let all = ["numbers=1,2", "names=1,2", "shares=1,2", "part.numbers=1,2"];
        let all = with(&base, &all).unwrap();
        assert_eq!((all.numbers, all.part.numbers), (vec![1, 2], vec![1, 2]));
        assert_eq!(all.names, ["1", "2"]);
        assert_eq!(all.shares, [1.0, 2.0]);
    }
}

#[test]
fn what_is_no_list_of_that_kind_is_an_error() {
    for (option, expected) in [
        ("numbers=one", "`numbers[0]` cannot be used"),
        ("numbers=1,two", "`numbers[1]` cannot be used"),
        ("numbers=1.5", "`numbers[0]` cannot be used"),
        ("numbers=1,,2", "`numbers[1]` cannot be used"),
        ("part.numbers=x", "`part.numbers[0]` cannot be used"),
        ("names=[1]", "`names[0]` cannot be used"),
        (r#"numbers={"a": 1}"#, "is not a list"),
        ("count=1,2", "is not a whole number"),
    ] {
        let error = with(&Options::default(), &[option]).unwrap_err();
        assert!(error.contains(expected), "{option}: {error}");
    }
}

/// Nested tables and arrays are dropped, copied and searched by recursion.
#[test]
fn what_is_too_deep_or_too_long_is_a_short_error() {
    let long = "a".repeat(100_000);
    let deepest = "a.".repeat(MAX_DEPTH - 1) + "a=1";
    let mut nested = json!(1);
    for _ in 0..=MAX_DEPTH {
        nested = json!([nested]);
    }
    for option in [
        "a.".repeat(30_000) + "a=1",
        "a.".repeat(MAX_DEPTH) + "a=1",
        deepest,
        format!("numbers={}1{}", "[".repeat(100), "]".repeat(100)),
        format!("numbers={}1{}", "[".repeat(60_000), "]".repeat(60_000)),
        format!(r#"part={}1{}"#, r#"{"a":"#.repeat(100), "}".repeat(100)),
        format!("numbers={nested}"),
        format!("count={long}"),
        format!("{long}=1"),
        long.clone(),
        format!("numbers={long}"),
    ] {
        let error = with(&Options::default(), &[&option]).unwrap_err();
        assert!(error.len() < 600, "{} bytes: {error}", error.len());
    }
    let error = changed(&Options::default(), &Value::from(long)).unwrap_err().to_string();
    assert!(error.len() < 200, "{error}");
}
