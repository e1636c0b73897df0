import ArgumentParser
import Files
import Foundation
import JSON
import Jobs
import Kernels
import Training

/// `vintner predict`.
struct PredictCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "predict", abstract: "Let a language model write, or classify with a model.",
        discussion: """
            The same request gives the same answer, here and by POST /v1/models/ID/predict. An empty prompt \
            is the start of a line, or the first token where the vocabulary has no line break. A prompt that \
            is longer than the model's input counts with its last tokens.
            """)

    @Argument(help: "A model file (safetensors), or the id of a model in the data folder.")
    var model: String
    @Option(help: "The data folder that has the model of an id.")
    var data = FolderOption.standard
    @Option(help: "What the text goes on from.")
    var prompt: String?
    @Option(help: "How many tokens are added, 1 to 4096.")
    var tokens = 200
    @Option(help: "What the logits are divided by, 0 to 10; 0 takes the likeliest token always.")
    var temperature = 1.0
    @Option(help: "Draw from so many of the likeliest tokens only.")
    var topK: Int?
    @Option(help: "Decides every draw: the same seed, the same text.")
    var seed = 0
    @Option(help: "A text to classify; may be repeated.")
    var text: [String] = []
    @Option(help: "A file with the request as the API takes it (JSON); - reads standard input.")
    var request: String?
    @Flag(help: "Print the answer as JSON.")
    var json = false

    func validate() throws {
        let ways = [prompt != nil, !text.isEmpty, request != nil].filter { $0 }.count
        guard ways == 1 else {
            throw ValidationError("Say one of --prompt, --text and --request.")
        }
    }

    func run() throws {
        let body = try self.body()
        ThreadTeam.use(1)
        do {
            let predictor = try Predictor(stored())
            let question = try PredictionRequest.read(body, for: predictor.stored)
            let clock = SystemTime()
            let start = clock.monotonicNanoseconds()
            guard let result = try predictor.answer(question) else { return }
            say(result, seconds: Double(clock.monotonicNanoseconds() - start) * 1e-9)
        } catch let error as InvalidInput {
            Terminal.complain("vintner: \(error)")
            throw Ending.usage.error
        } catch {
            Terminal.complain("vintner: \(error)")
            throw Ending.failed.error
        }
    }

    private func body() throws -> JSONValue {
        if let request { return try readJSON(request) }
        guard let prompt else { return ["texts": .array(text.map { .string($0) })] }
        return [
            "prompt": .string(prompt), "max_tokens": JSONValue(tokens), "temperature": .number(temperature),
            "top_k": topK.map { JSONValue($0) } ?? .null, "seed": JSONValue(seed),
        ]
    }

    /// An id is looked up in the data folder, with the hash that its file must have; anything else is a file.
    private func stored() throws -> StoredModel {
        guard let id = ModelID(model) else { return try StoredModel(model) }
        let folder = DataFolder(path: data)
        let record = try folder.storedModels.model(id)
        return try StoredModel(folder.absolute(record.path), sha256: record.sha256)
    }

    private func say(_ result: PredictionResult, seconds: Double) {
        let answer = result.json(seconds: seconds)
        if json { return Terminal.say(answer.encoded(pretty: true)) }
        switch result {
        case .text(let added, let count):
            Terminal.say((prompt ?? "") + added)
            Terminal.complain("vintner: \(count) tokens in \(rounded(seconds, digits: 2)) s")
        case .classes, .tags:
            for found in answer["predictions"]?.arrayValue ?? [] {
                let parts = found["tokens"]?.arrayValue ?? [found]
                Terminal.say(parts.map(Self.line).joined(separator: "  "))
            }
        }
    }

    /// `spam 0.9981`.
    private static func line(_ found: JSONValue) -> String {
        let label = found["label"]?.stringValue ?? "\(found["class"]?.intValue ?? 0)"
        return "\(label) \(rounded(found["probability"]?.doubleValue ?? 0, digits: 4))"
    }
}
