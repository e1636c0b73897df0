import Tensor
import Testing

@testable import Data

@Suite("A feed reads every kind of dataset into batches") struct BatchFeedTests {
    let home: TokenFolder
    init() throws { home = try TokenFolder() }

    struct Seen: Equatable {
        var position: BatchPosition
        var count: Int
        var targetCount: Int
        var inputs: [Int32]
        var targets: [Int32]
    }

    private func read(
        _ feed: BatchFeed, from start: BatchPosition = BatchPosition(), epochs: Int = 1
    ) throws -> [Seen] {
        let prefetcher = try feed.prefetcher(from: start, epochs: epochs)
        var seen: [Seen] = []
        while let batch = prefetcher.next() {
            #expect(batch.layout == feed.filler.layout && batch.capacity == feed.batcher.batchSize)
            seen.append(
                Seen(
                    position: batch.position, count: batch.count, targetCount: batch.targetCount,
                    inputs: batch.arena.read(batch.inputSlot, as: Int32.self),
                    targets: batch.arena.read(batch.targetSlot, as: Int32.self)))
        }
        return seen
    }

    private func text(_ count: Int) throws -> Dataset {
        let text = (0..<count).map { String(Unicode.Scalar(UInt8(33 + $0 * 7 % 90))) }.joined()
        _ = try home.put(text, as: "input")
        return try home.add(as: .text(TextSettings(unit: .byte, validationFraction: 0.25)))
    }

    @Test(
        "evaluation counts every token but the first once", arguments: [1, 2, 3, 7, 24, 25, 40], [1, 2, 5])
    func evaluationOfText(context: Int, batchSize: Int) throws {
        let dataset = try text(100)
        let tokens = dataset.test.text.map(Int32.init)
        #expect(tokens.count == 25)
        let options = ReadingOptions(batchSize: 4, evaluationBatchSize: batchSize, context: context)
        let seen = try read(dataset.testFeed(options))
        var (targets, place) = ([Int32](), 0)
        for batch in seen {
            for row in 0..<batchSize {
                for element in row * context..<(row + 1) * context {
                    if batch.targets[element] == BatchLayout.ignoredLabel {
                        #expect(batch.inputs[element] == 0)
                        continue
                    }
                    #expect(batch.inputs[element] == tokens[place])
                    targets.append(batch.targets[element])
                    place += 1
                }
            }
        }
        #expect(targets == Array(tokens.dropFirst()))
        #expect(seen.map(\.targetCount).reduce(0, +) == 24)
    }

    @Test("training windows lie in the text, differ, and are the same after resuming")
    func trainingOnText() throws {
        let dataset = try text(400)
        let tokens = dataset.train.text.map(Int32.init)
        let options = ReadingOptions(batchSize: 6, evaluationBatchSize: 4, context: 8, seed: 5)
        let feed = dataset.trainingFeed(options)
        // 300 tokens hold 38 windows side by side: the last one is cut short.
        #expect(feed.batcher.batchCount == 6)
        let seen = try read(feed, epochs: 3)
        #expect(seen.count == 18)
        for batch in seen {
            #expect(batch.count == 6 && batch.targetCount == 48)
            for row in 0..<6 {
                let window = Array(batch.inputs[row * 8..<row * 8 + 8])
                let next = Array(batch.targets[row * 8..<row * 8 + 8])
                // The text repeats every 90 tokens, so a window's place is known up to that.
                let isThere = (0..<tokens.count - 8).contains { start in
                    Array(tokens[start..<start + 8]) == window && Array(tokens[start + 1..<start + 9]) == next
                }
                #expect(isThere)
            }
        }
        #expect(Set(seen.map(\.inputs)).count == 18)
        for start in [BatchPosition(epoch: 0, batch: 4), BatchPosition(epoch: 2, batch: 5)] {
            #expect(try read(feed, from: start, epochs: 3) == seen.filter { $0.position >= start })
        }
    }

    @Test("the last possible window of a text is drawn, and none behind it")
    func extremeWindows() throws {
        let dataset = try text(16)  // 12 tokens to train on: windows of 10 start at 0 or 1.
        let feed = dataset.trainingFeed(
            ReadingOptions(batchSize: 64, evaluationBatchSize: 4, context: 10))
        let seen = try read(feed)
        let tokens = dataset.train.text.map(Int32.init)
        let starts = Set((0..<64).map { tokens.firstIndex(of: seen[0].inputs[$0 * 10]) })
        #expect(starts == [0, 1])
    }

    @Test("a text must hold one window and its last target")
    func shortText() throws {
        let info = try text(16).info
        func check(_ context: Int) throws(DataError) {
            try info.check(ReadingOptions(batchSize: 1, evaluationBatchSize: 1, context: context))
        }
        try check(11)
        let error = try #require(throws: DataError.self) { try check(12) }
        #expect(
            error.description == "The training text has 12 tokens, and the model's context needs 13.")
        for context in [0, -5, .max] { #expect(throws: DataError.self) { try check(context) } }
    }

    @Test("sequences are padded with zeros or cut, one label each")
    func classification() throws {
        _ = try home.put("text,label\nabc,x\na,y\nabcdef,x\nbb,y\n", as: "input")
        let dataset = try home.add(as: .csv(TextSettings(unit: .byte, validationFraction: 0.25)))
        let options = ReadingOptions(batchSize: 8, evaluationBatchSize: 8, context: 4, seed: 1)
        let train = try #require(dataset.train.sequences)
        let feed = dataset.trainingFeed(options)
        let seen = try read(feed)
        #expect(seen.count == 1 && seen[0].count == 3 && seen[0].targetCount == 3)
        let order = feed.batcher.epoch(0)[0].map(Int.init)
        #expect(order.sorted() == [0, 1, 2])
        for (row, sample) in order.enumerated() {
            let tokens = train.tokens(of: sample).prefix(4).map(Int32.init)
            let expected = tokens + Array(repeating: 0, count: 4 - tokens.count)
            #expect(Array(seen[0].inputs[row * 4..<row * 4 + 4]) == expected)
            #expect(seen[0].targets[row] == Int32(train.labels[sample]))
        }
        #expect(seen[0].inputs[12...].allSatisfy { $0 == 0 })
        #expect(seen[0].targets[3...].allSatisfy { $0 == -100 } && seen[0].targets.count == 8)
    }

    @Test("labels per token are ignored where the sequence has ended")
    func tagging() throws {
        _ = try home.put("token,label\na,x\nb,y\nc,x\n\nd,y\n\na,x\nb,x\n", as: "input")
        let dataset = try home.add(as: .csv(TextSettings(unit: .word, validationFraction: 0.34)))
        let options = ReadingOptions(batchSize: 4, evaluationBatchSize: 4, context: 2)
        for split in [dataset.train, dataset.test] {
            let sequences = try #require(split.sequences)
            let filler = SequenceFiller(sequences, labelling: .tokens, context: 2)
            var inputs = [Int32](repeating: 7, count: 2 * sequences.count)
            var targets = inputs
            var inputSpan = inputs.mutableSpan
            var targetSpan = targets.mutableSpan
            let count = filler.fill(
                (0..<UInt32(sequences.count)).map { $0 }[...], inputs: &inputSpan, targets: &targetSpan)
            var expected: (inputs: [Int32], targets: [Int32]) = ([], [])
            for sample in 0..<sequences.count {
                let range = sequences.range(of: sample).prefix(2)
                let missing = 2 - range.count
                expected.inputs +=
                    sequences.tokens[range].map(Int32.init) + Array(repeating: 0, count: missing)
                expected.targets +=
                    sequences.labels[range].map(Int32.init) + Array(repeating: -100, count: missing)
            }
            #expect(inputs == expected.inputs && targets == expected.targets)
            #expect(count == targets.count { $0 >= 0 })
        }
        let seen = try read(dataset.testFeed(options))
        #expect(seen[0].targets.count == 8 && seen[0].targetCount <= 2)
    }

    @Test(
        "what is planned for is what comes",
        arguments: [1, 3, 16, 500], [1, 4, 64])
    func plannedSizes(context: Int, batchSize: Int) throws {
        let rows = (0..<37).map { "some words \($0),\($0 % 3)\n" }.joined()
        _ = try home.put("text,label\n" + rows, as: "input")
        let sequences = try home.add(as: .csv(TextSettings(unit: .char)))
        let running = try TokenFolder()
        _ = try running.put(String(repeating: "To be, or not to be. ", count: 40), as: "input")
        let text = try running.add(as: .text(TextSettings()))
        for dataset in [sequences, text] {
            let options = ReadingOptions(
                batchSize: batchSize, evaluationBatchSize: batchSize + 1, context: context, seed: 3)
            try dataset.info.check(options)
            let planned = dataset.info.batchSizes(options)
            let training = try read(dataset.trainingFeed(options))
            #expect(Set(training.map(\.count)) == Set(planned.training))
            #expect(training.map(\.count).reduce(0, +) == dataset.info.sampleCount(options))
            let evaluated =
                try read(dataset.validationFeed(options)) + read(dataset.testFeed(options))
            #expect(Set(evaluated.map(\.count)) == Set(planned.evaluation))
            #expect(dataset.trainingFeed(options).filler.layout == dataset.info.layout(options))
        }
    }

    @Test("a layout that no memory can hold is refused, not trapped on")
    func hugeLayouts() {
        let layout = BatchLayout(input: .int32, inputWidth: .max / 2, target: .int32, targetWidth: 1)
        #expect(layout.byteCounts(capacity: 4) == nil && layout.byteCounts(capacity: 0)?.input == 0)
        let wide = BatchLayout(input: .float32, inputWidth: 3, target: .float32, targetWidth: 10)
        let counts = wide.byteCounts(capacity: 5)
        #expect(counts?.input == 60 && counts?.target == 200)
    }
}
