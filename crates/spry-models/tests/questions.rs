//! What a client with questions trains on, and how it is evaluated.

use std::sync::Arc;

use spry_core::{ClientData, Evaluation, Objective, ParamSet, Seed, Split};
use spry_data::question_answering::decode::DecodeConfig;
use spry_data::{
    Answer, ClientShare, EncodedQuestion, Question, Task, TextTokenizer, TokenBatch, Window,
    synthetic, tokenize,
};
use spry_models::{LoadOptions, Model, Peft, PeftModel, QuestionClient};

const QUESTIONS: usize = 12;

fn model() -> PeftModel {
    let config = format!(
        r#"{{"model_type": "bert", "vocab_size": {}, "hidden_size": 8, "num_hidden_layers": 1,
        "num_attention_heads": 2, "intermediate_size": 16, "max_position_embeddings": 32,
        "initializer_range": 0.5}}"#,
        synthetic::vocabulary().len()
    );
    let options = LoadOptions { task: Task::QuestionAnswering, ..Default::default() };
    let model = Model::random(&config, &options).unwrap();
    PeftModel::new(Arc::new(model), Peft::Full).unwrap()
}

fn encode(questions: &[Question]) -> Vec<EncodedQuestion> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokenizer.json");
    tokenize::write_wordpiece(&path, &synthetic::vocabulary()).unwrap();
    TextTokenizer::load(folder.path(), 32).unwrap().encode_questions(questions, 8).unwrap()
}

fn client(model: &PeftModel, decode: DecodeConfig) -> (QuestionClient, Vec<EncodedQuestion>) {
    let encoded = encode(&synthetic::questions(QUESTIONS, 0).questions);
    let (train, test) = ((0..4).collect(), (4..QUESTIONS).collect());
    let dataset = Arc::new(encoded.clone());
    let share = ClientShare { train, test };
    (QuestionClient::new(model.clone(), dataset, share, 0, false, decode).unwrap(), encoded)
}

fn evaluate(client: &QuestionClient, params: &ParamSet, batch: usize) -> Evaluation {
    let all: Vec<usize> = (0..client.num_examples(Split::Test)).collect();
    let of_batch =
        |part: &[usize]| client.objective(Split::Test, part, None).unwrap().evaluate(params);
    all.chunks(batch).map(|part| of_batch(part).unwrap()).sum()
}

#[test]
fn windows_are_trained_on_and_questions_tested_on() {
    let model = model();
    let params = model.trainable(&Seed::new(0)).unwrap();
    let (client, encoded) = client(&model, DecodeConfig::default());
    let windows: usize = encoded[..4].iter().map(|question| question.windows.len()).sum();
    assert!(windows > 4, "some contexts are too long for one");
    assert_eq!(client.num_examples(Split::Train), windows);
    assert_eq!(client.num_examples(Split::Test), QUESTIONS - 4);

    // A training example is its window, in order.
    let loss = |index: usize| {
        client.objective(Split::Train, &[index], None).unwrap().loss(&params).unwrap()
    };
    let windows: Vec<_> = encoded[..4].iter().flat_map(|question| &question.windows).collect();
    for (index, window) in windows.iter().enumerate() {
        let batch = TokenBatch::of_windows(&[window], 0);
        let expected = model.objective(&batch, None).unwrap().loss(&params).unwrap();
        assert_eq!(loss(index), expected, "{index}");
    }
    assert!(client.objective(Split::Train, &[windows.len()], None).is_err());
    assert!(client.objective(Split::Test, &[QUESTIONS], None).is_err());
}

/// The loss of a question is the mean over its windows, without padding, whatever it is evaluated
/// with.
#[test]
fn an_evaluation_does_not_depend_on_its_batches() {
    let model = model();
    let params = model.trainable(&Seed::new(0)).unwrap();
    let (client, encoded) = client(&model, DecodeConfig::default());
    let one = evaluate(&client, &params, 1);
    let window_loss = |window: &Window| {
        let batch = TokenBatch::of_windows(&[window], 0);
        model.objective(&batch, None).unwrap().loss(&params).unwrap()
    };
    let mean = |question: &EncodedQuestion| {
        let losses = question.windows.iter().map(window_loss);
        losses.sum::<f64>() / question.windows.len() as f64
    };
    let expected: f64 = encoded[4..].iter().map(mean).sum();
    assert!((one.loss_sum - expected).abs() < 1e-4, "{} {expected}", one.loss_sum);
    for batch in [2, 3, QUESTIONS] {
        let other = evaluate(&client, &params, batch);
        assert!((other.loss_sum - one.loss_sum).abs() < 1e-4);
        assert_eq!((other.correct, other.f1_sum, other.examples), (one.correct, one.f1_sum, 8));
    }
}

/// The threshold decides between no answer at all and always one.
#[test]
fn answers_are_judged_by_exact_match_and_f1() {
    let model = model();
    let params = model.trainable(&Seed::new(0)).unwrap();
    let threshold = |null_score_diff_threshold| DecodeConfig {
        null_score_diff_threshold,
        ..Default::default()
    };
    let (never, encoded) = client(&model, threshold(-1e9));
    let unanswerable = encoded[4..].iter().filter(|question| question.answers.is_empty()).count();
    assert!((1..8).contains(&unanswerable));
    let evaluation = evaluate(&never, &params, 4);
    assert_eq!(evaluation.correct, unanswerable);
    assert_eq!(evaluation.f1_sum, Some(unanswerable as f64));

    // Whole contexts as answers overlap with the right ones, and are none of them.
    let encoded = encode(&[Question {
        question: "who scored".to_string(),
        context: "the striker scored".into(),
        answers: vec![Answer { text: "striker scored".to_string(), start: 4 }],
    }]);
    let share = ClientShare { train: vec![], test: vec![0] };
    let only = DecodeConfig { n_best_size: 100, ..threshold(1e9) };
    let client = QuestionClient::new(model, Arc::new(encoded), share, 0, false, only).unwrap();
    let evaluation = evaluate(&client, &params, 1);
    let f1 = evaluation.f1().unwrap();
    // All spans but "the" have a word in common; "the" is an article, and so no word.
    assert!([0.0, 2.0 / 3.0, 1.0].iter().any(|known| (f1 - known).abs() < 1e-12), "{f1}");
    assert_eq!(evaluation.correct == 1, f1 == 1.0);
}

#[test]
fn shares_of_other_data_are_errors() {
    let share = ClientShare { train: vec![0], test: vec![1] };
    let encoded = Arc::new(encode(&synthetic::questions(1, 0).questions));
    let decode = DecodeConfig::default();
    let error = QuestionClient::new(model(), encoded, share, 0, false, decode).err().unwrap();
    assert!(error.to_string().contains("there is no question 1 among 1"), "{error}");
}
