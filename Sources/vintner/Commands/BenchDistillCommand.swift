import ArgumentParser
import Graph
import JSON
import Jobs
import Kernels
import Plan
import Tensor
import Training

/// `vintner bench-distill`: times a student's step with a teacher against its parts, as a line of JSON.
struct BenchDistillCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "bench-distill",
        abstract: "Time a distillation step, masked or not, against a plain step and the teacher alone.")

    @Option(help: "A file with the student's JSON.")
    var student: String
    @Option(help: "A file with the teacher's JSON; input and output are the student's.")
    var teacher: String
    @Option(help: "Samples per step.")
    var batch = 64
    @Option(help: "Threads of the step.")
    var threads = 2
    @Option(help: "Steps of each kind to time; the kinds take turns.")
    var steps = 300
    @Option(help: "fp32 or bf16.")
    var precision = TrainOptions.Precision.fp32
    @Option(help: "The part of the student's weights that masks hold at zero in the step with a teacher.")
    var sparsity = 0.0
    @Option(help: "sgd (with momentum), or adamw (with decay).")
    var optimizer = BenchOptimizer.sgd

    func validate() throws {
        guard (0..<1).contains(sparsity) else { throw ValidationError("--sparsity is from 0 to below 1.") }
    }

    func run() throws {
        let time = SystemTime()
        ThreadTeam.use(threads)
        let (own, taught) = (try read(student, at: "/student"), try read(teacher, at: "/teacher"))
        guard own.graph.inputShape == taught.graph.inputShape,
            own.graph.outputShape == taught.graph.outputShape
        else { throw ValidationError("The models differ in their input or their output.") }
        let loss = LossKind.crossEntropy(labelSmoothing: 0)
        let settings = DistillationLoss.Settings(teacherElement: precision.element)
        let plain = try program(own, loss, trains: true)
        let distilled = try program(
            own, .distillation(settings, oneHot: true), trains: true, isMasked: sparsity > 0)
        if sparsity > 0 { try prune(distilled) }
        let model = try program(taught, loss, trains: false)
        guard let plainPlan = plain.trainingPlan(batch: batch),
            let distilledPlan = distilled.trainingPlan(batch: batch),
            let teacherPlan = model.evaluationPlan(batch: batch), let place = teacherPlan.outputPlace
        else { return }
        let data = try BenchBatch(own.graph, batch: batch, loss: loss)
        for plan in [plainPlan, distilledPlan] {
            try plan.bindBatch(input: data.input, target: data.target, in: data.arena)
        }
        try teacherPlan.bind(.input, to: Place(data.input, in: data.arena))
        try distilledPlan.bind(.teacher, to: place)
        var state = StepState(
            seed: 0, step: 0, learningRate: 1e-4, inverseCount: 1 / Float(batch * data.rows))
        state.correctBias(of: optimizer.options.rule, update: 1)
        var milliseconds: [[Double]] = [[], [], []]
        for round in 0..<max(steps, 1) + 20 {
            for (kind, plans) in [[plainPlan], [teacherPlan], [teacherPlan, distilledPlan]].enumerated() {
                let begin = time.monotonicNanoseconds()
                for plan in plans { _ = try plan.run(state) }
                let end = time.monotonicNanoseconds()
                if round >= 20 { milliseconds[kind].append(Double(end - begin) * 1e-6) }
            }
        }
        let medians = milliseconds.map { $0.sorted()[$0.count / 2] }
        let line: JSONValue = [
            "student_ms": .number(medians[0]), "teacher_ms": .number(medians[1]),
            "distill_ms": .number(medians[2]), "ratio": .number(medians[2] / (medians[0] + medians[1])),
            "sparsity": .number(sparsity), "batch": JSONValue(batch), "threads": JSONValue(threads),
            "precision": .string(precision.rawValue),
        ]
        Terminal.say(line.encoded())
    }

    private func read(_ file: String, at pointer: String) throws -> ModelSpec {
        let log = ViolationLog()
        let spec = ModelSpec.read(try readJSON(file), at: pointer, data: DataShape(), log: log)
        guard let spec, log.isEmpty else {
            Terminal.complain(InvalidInput(log.violations).description)
            throw Ending.usage.error
        }
        return spec
    }

    /// Holds the asked part of every weight at zero, spread over it.
    private func prune(_ program: Program) throws {
        for id in program.graph.parameterIDs where program.graph[id].role == .weight {
            let mask = (0..<program.graph[id].shape.elementCount).map { index -> UInt8 in
                Double(UInt32(truncatingIfNeeded: index &* 2_654_435_769)) < sparsity * 0x1p32 ? 0 : 1
            }
            try program.setMask(mask, of: id)
        }
    }

    private func program(
        _ spec: ModelSpec, _ loss: LossKind, trains: Bool, isMasked: Bool = false
    ) throws -> Program {
        var options = Program.Options(
            loss: loss, optimizer: optimizer.options, trainingBatches: trains ? [batch] : [],
            evaluationBatches: trains ? [] : [batch])
        options.evaluatesLoss = false
        options.optimizer.isMasked = isMasked
        options.lowering.precision = precision.element
        let program = try Program(spec.graph, options, on: DNNEngine())
        try program.allocate(drawing: spec.initialization)
        return program
    }
}
