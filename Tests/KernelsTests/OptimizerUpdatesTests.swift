import JSON
import Kernels
import TestSupport
import Testing

@Suite("SGD agrees with PyTorch") struct OptimizerUpdatesTests {
    @Test("over five steps", arguments: Fixture.cases("optimizers", op: "sgd"))
    func fiveSteps(name: String) throws {
        let fixture = try Fixture("optimizers")
        let momentum = fixture.number(name, "momentum")
        var weight = try fixture.floats("\(name)/parameter_0")
        let kernel = OptimizerUpdates.sgd(
            count: weight.count, momentum: momentum, weightDecay: fixture.number(name, "weight_decay"),
            nesterov: fixture.cases[name]?["nesterov"]?.boolValue ?? false)
        let state = StepState(
            seed: 0, step: 0, learningRate: fixture.number(name, "lr"), inverseCount: 1)
        var velocity = [Float](repeating: 0, count: weight.count)
        for step in 1...5 {
            let gradient = try fixture.floats("\(name)/grad_\(step)")
            let operands: [Given] = [.state(state), .floats(weight), .floats(gradient)]
            let run = try KernelRun(kernel, momentum == 0 ? operands : operands + [.floats(velocity)])
            weight = run.floats(1)
            // Each step rounds four operations on numbers of the results' size.
            let expected = try fixture.floats("\(name)/parameter_\(step)")
            let scale = 4 * epsilon * Float(step)
            expectClose(weight, expected, within: scale * max(1, magnitude(expected)), "weight \(step)")
            guard momentum != 0 else { continue }
            velocity = run.floats(3)
            let moving = try fixture.floats("\(name)/momentum_\(step)")
            expectClose(velocity, moving, within: scale * max(1, magnitude(moving)), "velocity \(step)")
        }
    }

    @Test("with the same bits on one, two and three threads")
    func threads() throws {
        let count = 40_003
        let operands: [Given] = [
            .state(StepState(seed: 0, step: 0, learningRate: 0.1, inverseCount: 1)),
            .floats(randomFloats(count, seed: 1)), .floats(randomFloats(count, seed: 2)),
            .floats(randomFloats(count, seed: 3)),
        ]
        let results = try [1, 2, 3].map { threads in
            ThreadTeam.use(threads)
            let kernel = OptimizerUpdates.sgd(
                count: count, momentum: 0.9, weightDecay: 5e-4, nesterov: true)
            return bits(try KernelRun(kernel, operands).floats(1))
        }
        #expect(results[1] == results[0] && results[2] == results[0])
    }
}
