//! Which token a decoder classifies a text by: the last that is neither masked nor the padding token,
//! wherever that is, as Python does with the exported configuration.

mod folders;

use folders::{fixture, model_with};
use serde_json::json;
use spry_data::{Targets, TokenBatch};
use spry_models::{LoadOptions, Model, TokenInput};

/// Three texts of two, three and one token, and the padding to five.
fn batch() -> TokenBatch {
    let mask = [[1.0, 1.0, 0.0, 0.0, 0.0], [1.0, 1.0, 1.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0, 0.0]];
    TokenBatch {
        batch: 3,
        seq: 5,
        input_ids: vec![2, 7, 5, 5, 5, 2, 7, 5, 5, 5, 5, 5, 5, 5, 5],
        token_type_ids: vec![0; 15],
        attention_mask: mask.concat(),
        targets: Targets::Classes(vec![0, 1, 2]),
    }
}

fn last_tokens(model: &Model) -> [Vec<i64>; 2] {
    let padded = TokenInput::new(&batch(), model).unwrap();
    let packed = TokenInput::packed(&batch(), model).unwrap().unwrap();
    [padded, packed].map(|input| {
        let data = input.last_tokens.into_data().convert::<i64>();
        data.try_to_vec::<i64>().unwrap()
    })
}

#[test]
fn the_padding_token_is_no_last_token() {
    // Rows of five, and texts of two, three and one after another.
    let by_mask = [vec![1, 7, 10], vec![1, 4, 5]];
    let by_token = [vec![1, 6, 10], vec![1, 3, 5]];
    for case in ["llama-head", "opt-head"] {
        let load = |keys| {
            let folder = model_with(case, keys);
            Model::load(folder.path(), &LoadOptions::default()).unwrap()
        };
        let none = load(json!({"pad_token_id": null}));
        assert_eq!(none.padding(), None);
        assert_eq!(last_tokens(&none), by_mask, "{case}");
        assert_eq!(last_tokens(&load(json!({"pad_token_id": 5}))), by_token, "{case}");
        // The run's tokenizer counts, whatever the configuration says.
        assert_eq!(last_tokens(&load(json!({"pad_token_id": 9})).with_padding(5)), by_token);
    }
    let bert = Model::load(&fixture("bert-head"), &LoadOptions::default()).unwrap();
    assert_eq!(bert.with_padding(5).padding(), None, "it looks at the first token");
}
