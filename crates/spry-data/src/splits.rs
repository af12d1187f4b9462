//! Which of a dataset's files are a split: one complete set, or an error that lists what there is.
//!
//! Shards say how many they are (`train-00000-of-00005.parquet`), so that a missing one is noticed,
//! and the same rows under two names, such as `train.parquet` beside shards, are not read twice.

use std::collections::BTreeMap;

/// Names that a message lists.
const LISTED: usize = 8;

/// Why a split's files cannot be read as one set. The text says what there is, and what is missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SplitProblem {
    /// Files are missing.
    Incomplete(String),
    /// The split is there more than once.
    Doubled(String),
}

impl std::fmt::Display for SplitProblem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (Self::Incomplete(text) | Self::Doubled(text)) = self;
        f.write_str(text)
    }
}

/// What the end of a file's name says of its place in a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// `train.parquet`.
    Whole,
    /// `train-00002-of-00005.parquet`, or the same with a hash at the end.
    Shard { index: usize, total: usize },
    /// `train-3.parquet`: one of nobody says how many.
    Numbered(usize),
    /// `train-reviews.parquet`.
    Named,
}

/// Files that belong together: of one folder, and of one number of shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum SetKind {
    Whole,
    Shards(usize),
    Parts,
}

/// The Parquet files of a split among a dataset's files, in order; none if there is none.
///
/// Names are paths inside the dataset with `/` between folders. Files of a split are
/// `train.parquet`, `train-00000-of-00002.parquet` (a hash may follow), or other `train-*.parquet`,
/// in the folder `data` or in none; those in the configuration's own folder come first.
///
/// # Errors
///
/// [`SplitProblem`] if shards are missing, or if there is more than one set.
pub(crate) fn of_split(
    names: &[String],
    configuration: Option<&str>,
    split: &str,
) -> Result<Vec<String>, SplitProblem> {
    let mut found: Vec<(&str, &str, Part)> = Vec::new();
    for name in names {
        let (folder, file) = name.rsplit_once('/').unwrap_or(("", name));
        let is_place = folder.is_empty() || folder == "data" || Some(folder) == configuration;
        if let (true, Some(part)) = (is_place, part(file, split)) {
            found.push((folder, name, part));
        }
    }
    // A local copy of one configuration need not repeat its folder, but what is in it is meant.
    if found.iter().any(|(folder, _, _)| Some(*folder) == configuration) {
        found.retain(|(folder, _, _)| Some(*folder) == configuration);
    }
    let mut sets: BTreeMap<(&str, SetKind), Vec<(&str, Part)>> = BTreeMap::new();
    for (folder, name, part) in found {
        let kind = match part {
            Part::Whole => SetKind::Whole,
            Part::Shard { total, .. } => SetKind::Shards(total),
            Part::Numbered(_) | Part::Named => SetKind::Parts,
        };
        sets.entry((folder, kind)).or_default().push((name, part));
    }
    let mut sets = sets.into_iter();
    let Some(((_, kind), files)) = sets.next() else { return Ok(Vec::new()) };
    let others: Vec<(&str, Part)> = sets.flat_map(|(_, files)| files).collect();
    if !others.is_empty() {
        let all = files.iter().chain(&others).map(|(name, _)| *name);
        return Err(SplitProblem::Doubled(format!(
            "it is there more than once, so that rows may be read twice: {}; keep one set",
            listed(all)
        )));
    }
    complete(kind, files)
}

/// The part that a file of this name is of a split, or `None` if it is not one of its Parquet files.
fn part(file: &str, split: &str) -> Option<Part> {
    let rest = file.strip_suffix(".parquet")?.strip_prefix(split)?;
    if rest.is_empty() {
        return Some(Part::Whole);
    }
    let rest = rest.strip_prefix('-')?;
    if let Some(number) = number(rest) {
        return Some(Part::Numbered(number));
    }
    let Some((before, after)) = rest.split_once("-of-") else { return Some(Part::Named) };
    let total = after.split_once('-').map_or(after, |(total, _hash)| total);
    match (number(before), number(total)) {
        (Some(index), Some(total)) => Some(Part::Shard { index, total }),
        // `train-extra-00000-of-00001.parquet` is of the split `train-extra`.
        (None, Some(_)) if before.rsplit_once('-').is_some_and(|(_, n)| number(n).is_some()) => {
            None
        }
        _ => Some(Part::Named),
    }
}

fn number(text: &str) -> Option<usize> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().ok()).flatten()
}

/// The files of one set in order, if none is missing and none is there twice.
fn complete(kind: SetKind, mut files: Vec<(&str, Part)>) -> Result<Vec<String>, SplitProblem> {
    let place = |part: Part| match part {
        Part::Whole | Part::Named => 0,
        Part::Shard { index, .. } | Part::Numbered(index) => index,
    };
    files.sort_by_key(|(name, part)| (place(*part), *name));
    let all = || listed(files.iter().map(|(name, _)| *name));
    let places: Vec<usize> = files.iter().map(|(_, part)| place(*part)).collect();
    match kind {
        SetKind::Whole => {}
        SetKind::Shards(total) => {
            if places.windows(2).any(|pair| pair[0] == pair[1]) {
                let text = format!("a shard is there twice: {}; keep one of each number", all());
                return Err(SplitProblem::Doubled(text));
            }
            if let Some(wrong) = places.iter().find(|&&place| place >= total) {
                let text = format!("shard {wrong} is beyond the {total} that there are: {}", all());
                return Err(SplitProblem::Incomplete(text));
            }
            if places.len() < total {
                // All places are below `total` and differ; the total itself may be any number.
                let missing = (0..total).filter(|place| places.binary_search(place).is_err());
                let missing: Vec<String> =
                    missing.take(LISTED + 1).map(|place| place.to_string()).collect();
                let text = format!(
                    "of its {total} shards only {} are there ({}); missing: {}",
                    places.len(),
                    all(),
                    listed(missing.iter().map(String::as_str))
                );
                return Err(SplitProblem::Incomplete(text));
            }
        }
        SetKind::Parts => {
            let are_numbers = files.iter().all(|(_, part)| matches!(part, Part::Numbered(_)));
            // Numbers from 0 or 1 on are shards; others may be dates.
            let first = places.first().copied().unwrap_or(0);
            if are_numbers && first <= 1 {
                for (index, place) in places.iter().enumerate() {
                    if *place == first + index {
                        continue;
                    }
                    return Err(if *place < first + index {
                        let text = format!("part {place} is there twice: {}; keep one", all());
                        SplitProblem::Doubled(text)
                    } else {
                        let text = format!("part {} is missing beside {}", first + index, all());
                        SplitProblem::Incomplete(text)
                    });
                }
            }
        }
    }
    Ok(files.into_iter().map(|(name, _)| name.to_string()).collect())
}

/// The first few names, and how many more there are.
fn listed<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<String> = names.map(crate::guard::quotable).collect();
    let shown = names.iter().take(LISTED).cloned().collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(LISTED) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn train(names: &[&str]) -> Result<Vec<String>, SplitProblem> {
        of(names, None)
    }

    fn of(names: &[&str], configuration: Option<&str>) -> Result<Vec<String>, SplitProblem> {
        let names: Vec<String> = names.iter().map(|name| name.to_string()).collect();
        of_split(&names, configuration, "train")
    }

    #[test]
    fn a_complete_set_is_read_in_the_order_of_its_shards() {
        for (names, expected) in [
            (&["train.parquet", "test.parquet"][..], &["train.parquet"][..]),
            (&["data/train-00000-of-00001.parquet"], &["data/train-00000-of-00001.parquet"]),
            (
                &["data/train-00001-of-00002-a9.parquet", "data/train-00000-of-00002-b1.parquet"],
                &["data/train-00000-of-00002-b1.parquet", "data/train-00001-of-00002-a9.parquet"],
            ),
            // By number, not by letter.
            (
                &["train-10.parquet", "train-9.parquet", "train-8.parquet"],
                &["train-8.parquet", "train-9.parquet", "train-10.parquet"],
            ),
            (&["train-b.parquet", "train-a.parquet"], &["train-a.parquet", "train-b.parquet"]),
            (
                &["train-20240301.parquet", "train-20240201.parquet"],
                &["train-20240201.parquet", "train-20240301.parquet"],
            ),
            (&["training.parquet", "train.csv", "other/train.parquet", "trainer-1.parquet"], &[]),
            // Another split's.
            (
                &["train-extra-00000-of-00001.parquet", "train-00000-of-00001.parquet"],
                &["train-00000-of-00001.parquet"],
            ),
        ] {
            let expected: Vec<String> = expected.iter().map(|name| name.to_string()).collect();
            assert_eq!(train(names), Ok(expected), "{names:?}");
        }
    }

    #[test]
    fn a_configuration_is_its_folder_or_else_the_usual_places() {
        let (own, data) =
            ("sst2/train-00000-of-00001.parquet", "data/train-00000-of-00001.parquet");
        let other = "cola/train-00000-of-00001.parquet";
        assert_eq!(of(&[own, other], Some("sst2")), Ok(vec![own.to_string()]));
        assert_eq!(of(&[own, data, "train.parquet"], Some("sst2")), Ok(vec![own.to_string()]));
        assert_eq!(of(&[data, other], Some("sst2")), Ok(vec![data.to_string()]));
        assert_eq!(of(&[own, other], None), Ok(Vec::new()));
    }

    #[test]
    fn missing_files_are_named() {
        for (names, parts) in [
            (
                &["data/train-00000-of-00005.parquet", "data/train-00003-of-00005.parquet"][..],
                &["of its 5 shards only 2", "train-00003-of-00005", "missing: 1, 2, 4"][..],
            ),
            (&["train-00001-of-00002.parquet"], &["missing: 0"]),
            (&["train-00002-of-00002.parquet"], &["shard 2 is beyond the 2"]),
            (&["train-0.parquet", "train-2.parquet"], &["part 1 is missing", "train-2.parquet"]),
            (
                &["train-00000-of-99999999999.parquet"],
                &["missing: 1, 2, 3, 4, 5, 6, 7, 8 and 1 more"],
            ),
        ] {
            let Err(SplitProblem::Incomplete(text)) = train(names) else { panic!("{names:?}") };
            for part in parts {
                assert!(text.contains(part), "{text:?} lacks {part:?}");
            }
        }
    }

    #[test]
    fn two_sets_of_one_split_are_refused_with_their_names() {
        for names in [
            &["train.parquet", "data/train-00000-of-00001.parquet"][..],
            &["train.parquet", "data/train.parquet"],
            &["train.parquet", "train-00000-of-00001.parquet"],
            &["train-00000-of-00001.parquet", "train-00000-of-00002.parquet"],
            &["train-00000-of-00001-aa.parquet", "train-00000-of-00001-bb.parquet"],
            &["train-1.parquet", "train-01.parquet"],
            &["train.parquet", "train-extra.parquet"],
        ] {
            let Err(SplitProblem::Doubled(text)) = train(names) else { panic!("{names:?}") };
            for name in names {
                assert!(text.contains(name), "{text:?} lacks {name:?}");
            }
        }
    }
}
