import Foundation
import Testing
import Training

@Suite("Classifications are counted") struct ClassificationTallyTests {
    /// Four rows of three classes: two hits, a confusion of 0 with 2, one of 1 with 0.
    private static func tally() -> ClassificationTally {
        var tally = ClassificationTally(classCount: 3)
        let rows: [[Float]] = [[3, 1, 0], [0, 0, 2], [1, 0, 0.5], [-1, -2, 4]]
        let taken1 = tally.add(outputs: rows.flatMap { $0 }, labels: [0, 0, 1, 2])
        #expect(taken1)
        return tally
    }

    @Test("hits, confusions and scores are those counted by hand")
    func scores() {
        let tally = Self.tally()
        #expect(tally.count == 4 && tally.correct == 2 && tally.accuracy == 0.5)
        #expect(tally.confusion == [1, 0, 1, 1, 0, 0, 0, 0, 1])
        #expect(tally.scores[0] == .init(support: 2, precision: 0.5, recall: 0.5))
        #expect(tally.scores[1] == .init(support: 1, precision: 0, recall: 0))
        #expect(tally.scores[2] == .init(support: 1, precision: 0.5, recall: 1))
        #expect(tally.scores[1].f1 == 0 && tally.scores[2].f1 == 2.0 / 3)
        #expect(abs(tally.macroF1 - (0.5 + 0 + 2.0 / 3) / 3) < 1e-15)
    }

    @Test("the loss is the mean of -log softmax")
    func loss() {
        let rows = [([3.0, 1, 0], 0), ([0, 0, 2], 0), ([1, 0, 0.5], 1), ([-1, -2, 4], 2)]
        let expected = rows.map { row, label in log(row.map(exp).reduce(0, +)) - row[label] }.reduce(0, +) / 4
        #expect(abs(Self.tally().loss - expected) < 1e-12)
    }

    @Test("probabilities count as they are")
    func probabilities() {
        var tally = ClassificationTally(classCount: 2)
        let taken2 = tally.add(outputs: [0.75, 0.25, 0.25, 0.75], labels: [0, 0], areProbabilities: true)
        #expect(taken2)
        #expect(tally.loss == -(log(0.75) + log(0.25)) / 2)
        // Both rows are 75 % sure, and half of them are right.
        #expect(tally.calibrationError == 0.25)
    }

    @Test("a model that is as right as it is sure has no calibration error")
    func calibration() {
        var tally = ClassificationTally(classCount: 2)
        let sure: [Float] = [0.75, 0.25]
        tally.add(
            outputs: [sure, sure, sure, sure].flatMap { $0 }, labels: [0, 0, 0, 1], areProbabilities: true)
        #expect(tally.calibrationError < 1e-15)
        var other = ClassificationTally(classCount: 2)
        other.add(outputs: [1, 0, 1, 0], labels: [1, 1], areProbabilities: true)
        #expect(other.calibrationError == 1)
    }

    @Test("rows without a class of their own are left out, outputs that are no numbers are told")
    func leftOut() {
        var tally = ClassificationTally(classCount: 2)
        let taken3 = tally.add(outputs: [1, 0, .nan, 0, 5, 6], labels: [-100, -100, 2])
        #expect(taken3)
        #expect(tally.count == 0 && tally.accuracy == 0 && tally.loss == 0 && tally.calibrationError == 0)
        let taken4 = tally.add(outputs: [.nan, 0], labels: [0])
        #expect(!taken4)
        let taken5 = tally.add(outputs: [.infinity, 0], labels: [0])
        #expect(!taken5)
        #expect(tally.count == 0)
    }

    @Test("huge logits and many classes do no harm")
    func extremes() {
        let count = ClassificationTally.confusionClassesMax + 1
        var tally = ClassificationTally(classCount: count)
        var row = [Float](repeating: -1e38, count: count)
        row[7] = 1e38
        let taken6 = tally.add(outputs: row, labels: [7])
        #expect(taken6)
        #expect(tally.loss == 0 && tally.accuracy == 1 && tally.confusion.isEmpty)
    }

    @Test("percentiles are those of the sorted times")
    func figures() throws {
        let hundred = try #require(LatencyMeasurement.Figures(seconds: (1...100).reversed().map(Double.init)))
        #expect(hundred.median == 50.5 && hundred.p95 == 95 && hundred.runs == 100)
        let one = try #require(LatencyMeasurement.Figures(seconds: [3]))
        #expect(one.median == 3 && one.p95 == 3)
        #expect(LatencyMeasurement.Figures(seconds: []) == nil)
    }
}
