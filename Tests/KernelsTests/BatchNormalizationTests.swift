import JSON
import Kernels
import TestSupport
import Testing

@Suite("Batch normalisation agrees with PyTorch") struct BatchNormalizationTests {
    /// A case's tensors, channels last.
    private struct Subject {
        let fixture: Fixture
        let name: String
        let extents: [Int]
        let shape: BatchNormalizationShape

        init(_ name: String) throws {
            fixture = try Fixture("layers")
            self.name = name
            extents = try fixture.shape("\(name)/input")
            shape = BatchNormalizationShape(
                batch: extents[0], channels: extents[1], height: extents.count == 4 ? extents[2] : 1,
                width: extents.count == 4 ? extents[3] : 1, epsilon: fixture.number(name, "eps"))
        }

        func image(_ role: String) throws -> [Float] {
            channelsLast(try fixture.floats("\(name)/\(role)"), extents)
        }
        func row(_ role: String) throws -> [Float] { try fixture.floats("\(name)/\(role)") }
        var scaleOperands: [Given] {
            get throws { [.floats(try row("weight")), .floats(try row("bias"))] }
        }

        /// Means, variances and gradients are sums over n values of a channel, whose normalised values are of
        /// order 1: a few √n ε of the largest result.
        func bound(_ expected: [Float]) -> Float {
            8 * Float(shape.valuesPerChannel).squareRoot() * epsilon * max(magnitude(expected), 1)
        }
        func check(_ found: [Float], _ role: String) throws {
            let expected = try row(role)
            expectClose(found, expected, within: bound(expected), "\(name) \(role)")
        }
        func checkImage(_ found: [Float], _ role: String) throws {
            let expected = try image(role)
            expectClose(found, expected, within: bound(expected), "\(name) \(role)")
        }
    }

    static func cases(_ mode: String) -> [String] {
        let all = Fixture.cases("layers", op: "batch_norm").filter { $0.hasSuffix(mode) }
        return all.isEmpty ? ["no case of \(mode)"] : all
    }

    @Test("by the batch: output, running statistics, gradients", arguments: cases("train"), [1, 2, 3])
    func training(name: String, threads: Int) throws {
        ThreadTeam.use(threads)
        let subject = try Subject(name)
        let engine = try DNNEngine()
        let input = Given.floats(try subject.image("input"))
        let forward = try BatchNormalization.training(subject.shape, on: engine)
        let ahead = try KernelRun(forward, [input] + subject.scaleOperands)
        try subject.checkImage(ahead.floats(5), "output")
        let (mean, variance) = (Given.floats(ahead.floats(3)), Given.floats(ahead.floats(4)))
        let statistics = try KernelRun(
            BatchNormalization.runningStatistics(
                subject.shape, momentum: subject.fixture.number(name, "momentum")),
            [
                mean, variance, .floats(try subject.row("running_mean")),
                .floats(try subject.row("running_var")),
            ])
        try subject.check(statistics.floats(2), "new_running_mean")
        try subject.check(statistics.floats(3), "new_running_var")
        let backward = try BatchNormalization.backward(subject.shape, on: engine)
        let back = try KernelRun(
            backward,
            [input, mean, variance, .floats(try subject.image("grad_output"))] + subject.scaleOperands)
        try subject.checkImage(back.floats(6), "grad_input")
        try subject.check(back.floats(7), "grad_weight")
        try subject.check(back.floats(8), "grad_bias")
    }

    @Test("by the running statistics", arguments: cases("eval"), [1, 2, 3])
    func inference(name: String, threads: Int) throws {
        ThreadTeam.use(threads)
        let subject = try Subject(name)
        let kernel = try BatchNormalization.inference(subject.shape, on: DNNEngine())
        let run = try KernelRun(
            kernel,
            [.floats(try subject.image("input"))] + subject.scaleOperands + [
                .floats(try subject.row("running_mean")), .floats(try subject.row("running_var")),
            ])
        try subject.checkImage(run.floats(5), "output")
    }

    @Test("the variance of a single value is not corrected")
    func singleValue() throws {
        let shape = BatchNormalizationShape(batch: 1, channels: 2, height: 1, width: 1, epsilon: 1e-5)
        let run = try KernelRun(
            BatchNormalization.runningStatistics(shape, momentum: 0.5),
            [.floats([4, 8]), .floats([0, 0]), .floats([0, 0]), .floats([1, 3])])
        #expect(run.floats(2) == [2, 4])
        #expect(run.floats(3) == [0.5, 1.5])
    }
}
