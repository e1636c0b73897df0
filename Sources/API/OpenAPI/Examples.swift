import JSON

/// Requests that work, for people to begin with and for tools to try.
enum Examples {
    private typealias Named = (name: String, summary: String, value: JSONValue)

    /// The examples of an operation's body, as OpenAPI has them; nil where there are none.
    static func json(of operation: String) -> JSONValue? {
        let found: [Named] =
            switch operation {
            case "submitJob": jobs
            case "openDataset":
                [("texts", "Texts with a label each.", ["name": "greetings", "format": "csv"])]
            case "putDatasetFile": [("csv", "The file that holds them.", .string(table))]
            case "createWebhook":
                [
                    (
                        "endings", "Every end of a job but a good one.",
                        [
                            "url": "https://hooks.example.com/vintner",
                            "events": ["job.failed", "job.cancelled", "gate.failed"],
                        ]
                    )
                ]
            case "predict":
                [
                    ("texts", "A model of texts.", ["texts": ["good morning", "see you soon"]]),
                    (
                        "prompt", "A language model.",
                        ["prompt": "ROMEO:", "max_tokens": 20, "temperature": 0.8, "seed": 1]
                    ),
                ]
            default: []
            }
        guard !found.isEmpty else { return nil }
        let members = found.map {
            ($0.name, ["summary": .string($0.summary), "value": $0.value] as JSONValue)
        }
        return .object(JSONObject(members))
    }

    private static let jobs: [Named] = [
        (
            "preset", "A small network, with a condition that a pipeline asks for.",
            [
                "type": "train", "name": "fashion-mlp", "dataset": "fashion-mnist",
                "model": ["preset": "mlp", "hidden": [32]], "train": ["steps": 20, "batch_size": 64],
                "gate": [["metric": "test_accuracy", "min": 0.3]],
            ]
        ),
        (
            "layers", "The same task by layers of one's own.",
            [
                "type": "train", "name": "fashion-linear", "labels": ["kind": "baseline"],
                "dataset": "fashion-mnist",
                "model": [
                    "input": [1, 28, 28],
                    "layers": [["type": "flatten"], ["type": "linear", "out_features": 10]],
                ],
                "train": ["steps": 20, "optimizer": ["name": "adam", "lr": 0.001]],
            ]
        ),
    ]

    private static let table = """
        text,label
        good morning,hello
        good evening,hello
        hello there,hello
        welcome back,hello
        hi everybody,hello
        good day to you,hello
        good bye,farewell
        see you soon,farewell
        until tomorrow,farewell
        so long,farewell
        take care,farewell
        farewell my friend,farewell

        """
}
