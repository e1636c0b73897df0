import Data
import Files
import Foundation
import Graph
import JSON
import Kernels
import Plan
import Testing
import Training

/// A small dataset of tokens in a folder that disappears with it.
final class TextToy {
    let path: String
    let dataset: Dataset

    init(_ text: String, _ format: DatasetFormat) throws {
        path = NSTemporaryDirectory() + "vintner-text-" + UUID().uuidString
        try Folder.make(path)
        try AtomicFile.write(text, to: "\(path)/input")
        let catalogue = DatasetCatalogue(folder: "\(path)/datasets", systemFolder: "\(path)/none")
        _ = try catalogue.add("toy", from: "\(path)/input", as: format, id: "dst_toy", now: 0)
        dataset = try catalogue.load("toy")
    }

    deinit { try? FileManager.default.removeItem(atPath: path) }

    /// Seven letters over and over: who has seen one knows the next.
    static func periodic(_ count: Int = 400) throws -> TextToy {
        try TextToy(String(String(repeating: "abcdefg", count: count / 7 + 1).prefix(count)), .text(.init()))
    }

    func trainer(_ options: TrainOptions, preset: JSONValue, _ data: DataShape) throws -> Trainer {
        let log = ViolationLog()
        let model = ModelSpec.read(preset, at: "", data: data, log: log)
        try log.throwIfAny()
        return try Trainer(
            TrainingTask(model: #require(model), options: options, dataset: dataset, seed: 4))
    }

    func languageModel(_ options: TrainOptions = options, context: Int = 6) throws -> Trainer {
        try trainer(
            options,
            preset: [
                "preset": "gpt", "layers": 1, "heads": 2, "width": 16, "dropout": 0.1,
                "context": JSONValue(context),
            ],
            .text(vocabulary: dataset.info.vocabularySize ?? 0))
    }

    static var options: TrainOptions {
        var options = TrainOptions()
        (options.epochs, options.batchSize, options.learningRate) = (8, 4, 0.01)
        options.optimizer.rule = .adam(beta1: 0.9, beta2: 0.99, epsilon: 1e-8)
        return options
    }
}

@Suite("Models learn from text") struct TextTrainingTests {
    @Test("a language model learns what always follows")
    func languageModel() throws {
        let toy = try TextToy.periodic()
        let trainer = try toy.languageModel()
        // 360 tokens hold 60 windows of 6: fifteen steps an epoch.
        #expect(trainer.stepsPerEpoch == 15)
        let before = try #require(try trainer.evaluate(.validation))
        // GPT-2's initial weights say next to nothing, so that the first loss is that of guessing.
        #expect(abs(before.loss - log(7.0)) < 0.05)
        #expect(before.samples == 39, "of 40 tokens every one but the first is a target")
        let follower = Follower(in: toy.path)
        #expect(try trainer.run(follower) == nil)
        #expect(follower.steps.allSatisfy { $0.samples == 4 })
        let after = try #require(try trainer.evaluate(.test))
        #expect(after.accuracy == 1 && after.loss < 0.2, "\(after)")
    }

    @Test("an evaluation is the same in batches of any size", arguments: [1, 2, 5])
    func evaluationBatches(batchSize: Int) throws {
        // 69 validation tokens: 12 windows, the last one of two targets; 7 batches of 16 are not all full.
        let toy = try TextToy.periodic(690)
        var options = TextToy.options
        let expected = try #require(try toy.languageModel(options).evaluate(.validation))
        #expect(expected.samples == 68)
        options.batchSize = batchSize
        let found = try #require(try toy.languageModel(options).evaluate(.validation))
        #expect(found.samples == expected.samples && found.accuracy == expected.accuracy)
        // Sums of 68 losses in another order, in double precision; the losses themselves are single ones.
        #expect(abs(found.loss / expected.loss - 1) < 1e-6)
    }

    @Test("paused at any of its steps and resumed, it ends with the same bits")
    func resumes() throws {
        let toy = try TextToy.periodic(120)
        var options = TextToy.options
        options.epochs = 3
        func outcome(_ trainer: Trainer) throws -> String {
            try trainer.saveModel(to: "\(toy.path)/model.safetensors", description: [:]).sha256.hex
        }
        let follower = Follower(in: toy.path)
        let whole = try toy.languageModel(options)
        #expect(try whole.run(follower) == nil)
        let expected = try outcome(whole)
        for poll in 1...follower.polls {
            let interrupted = Follower(in: toy.path)
            interrupted.stopsAtPoll = poll
            let first = try toy.languageModel(options)
            #expect(try first.run(interrupted) == .pause, "poll \(poll)")
            let second = try toy.languageModel(options)
            try second.restore(from: interrupted.last, sha256: interrupted.lastReceipt?.sha256.hex)
            interrupted.restart(stoppingAt: nil)
            #expect(try second.run(interrupted) == nil)
            #expect(try outcome(second) == expected, "poll \(poll)")
            #expect(interrupted.steps.map(\.loss) == follower.steps.map(\.loss))
        }
    }

    @Test("a classifier tells texts apart by their words")
    func classification() throws {
        let rows = (0..<80).map { index in
            let (word, label) = index % 2 == 0 ? ("good", "yes") : ("bad", "no")
            return "\(index % 5) is a \(word) number\(index % 3 == 0 ? " indeed" : ""),\(label)\n"
        }
        let toy = try TextToy("text,label\n" + rows.joined(), .csv(.init(unit: .word)))
        let info = toy.dataset.info
        let trainer = try toy.trainer(
            TextToy.options,
            preset: ["preset": "bert", "layers": 1, "heads": 2, "width": 16, "context": 8],
            DataShape(
                isTokens: true, vocabulary: info.vocabularySize, padding: Int(Vocabulary.padding),
                target: .classes(2)))
        #expect(try trainer.run(Follower(in: toy.path)) == nil)
        let result = try #require(try trainer.evaluate(.test))
        #expect(result.accuracy == 1 && result.samples == 8)
    }

    /// One step of plain SGD from the same weights: what a parameter moved by is 64 times its gradient.
    ///
    /// Sums in another order differ by some 1e-7 of the gradient's norm; the new weight rounds by 2^-24 of
    /// itself.
    @Test("parts of a batch weigh as many tokens as they have", arguments: [1, 2, 3, 5])
    func unevenParts(size: Int) throws {
        let rows = (0..<40).map { index in
            String(repeating: "Ada,PER\n", count: 1 + index % 7) + "rain,O\n\n"
        }
        let toy = try TextToy("token,label\n" + rows.joined(), .csv(.init(unit: .word)))
        let preset: JSONValue = ["preset": "bert", "layers": 1, "heads": 2, "width": 16, "context": 8]
        let data = DataShape(
            isTokens: true, vocabulary: toy.dataset.info.vocabularySize, padding: Int(Vocabulary.padding),
            target: .perToken(classes: 2))
        var options = TextToy.options
        (options.steps, options.batchSize, options.learningRate) = (1, 8, 64)
        options.optimizer = .sgd()
        func moved(_ options: TrainOptions) throws -> [(before: [Float], after: [Float])] {
            let trainer = try toy.trainer(options, preset: preset, data)
            let ids = trainer.program.graph.parameterIDs
            let before = try ids.map { try trainer.program.read($0) }
            _ = try trainer.run(Follower(in: toy.path))
            return zip(before, try ids.map { try trainer.program.read($0) }).map { ($0, $1) }
        }
        let whole = try moved(options)
        options.microBatchSize = size
        var longest = 0.0
        for (one, other) in zip(whole, try moved(options)) {
            func length(_ left: [Float], _ right: [Float]) -> Double {
                zip(left, right).reduce(0) { $0 + Double(($1.0 - $1.1) * ($1.0 - $1.1)) }.squareRoot()
            }
            let zeros = [Float](repeating: 0, count: one.after.count)
            let (step, rounding) = (length(one.before, one.after), 0x1p-23 * length(one.after, zeros))
            #expect(one.before == other.before)
            #expect(length(one.after, other.after) <= 1e-6 * step + rounding)
            longest = max(longest, step)
        }
        #expect(longest > 1, "nothing was learned")
    }

    @Test("a tagger labels each token, and padding counts for nothing")
    func tagging() throws {
        let rows = (0..<60).map { index in
            let name = ["Ada", "Bob", "Cy"][index % 3]
            return "\(name),PER\nsees,O\n\(index % 4 == 0 ? "the,O\n" : "")rain,O\n\n"
        }
        let toy = try TextToy("token,label\n" + rows.joined(), .csv(.init(unit: .word)))
        let info = toy.dataset.info
        guard case .sequences(let sequences) = info.kind else {
            Issue.record("another kind")
            return
        }
        let trainer = try toy.trainer(
            TextToy.options,
            preset: ["preset": "bert", "layers": 1, "heads": 2, "width": 16, "context": 7],
            DataShape(
                isTokens: true, vocabulary: info.vocabularySize, padding: Int(Vocabulary.padding),
                target: .perToken(classes: 2)))
        #expect(try trainer.run(Follower(in: toy.path)) == nil)
        let result = try #require(try trainer.evaluate(.test))
        #expect(result.samples == sequences.tokenCounts.test)
        #expect(result.accuracy == 1 && result.loss < 0.3)
    }

    @Test("a text that is shorter than the model's context is refused with both numbers")
    func tooShort() throws {
        let toy = try TextToy.periodic(50)
        let error = try #require(throws: TrainingError.self) { try toy.languageModel(context: 45) }
        #expect(
            error.description.contains("The training text has 45 tokens, and the model's context needs 46."))
    }
}
