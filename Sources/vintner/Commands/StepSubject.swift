public import ArgumentParser
import Data
import Graph
import Host
import JSON
import Kernels
import Plan
import Tensor
public import Training

extension TrainOptions.Precision: ExpressibleByArgument {
    /// Its name, and by what means this processor has to emulate it.
    var described: String {
        DNNEngine.emulation(of: element).map { "\(rawValue), emulated \($0)" } ?? rawValue
    }
}

/// Whose training step is looked at: the arguments that `plan` and `profile` share.
struct StepOptions: ParsableArguments {
    @Argument(help: "A file with a model's JSON, or a job's; - reads standard input.")
    var file: String
    @Option(help: "Samples per step; the job's own, or 64.")
    var batch: Int?
    @Option(help: "fp32 or bf16; the job's own, or fp32.")
    var precision: TrainOptions.Precision?
    @Option(help: "Threads; the job's own, or all.")
    var threads: Int?
    @Option(help: "For a model: sgd (with momentum), or adamw (with decay).")
    var optimizer: BenchOptimizer?
    @Option(help: "For a model: cross_entropy, or mse against numbers.")
    var loss: BenchLoss?
    @Option(help: "For a job: the data folder that has its dataset, and the model that it starts from.")
    var data = FolderOption.standard
    @Flag(help: "Print JSON.")
    var json = false

    func validate() throws {
        guard (1...65_536).contains(batch ?? 1) else {
            throw ValidationError("--batch is a number from 1 to 65536.")
        }
        guard (1...1024).contains(threads ?? 1) else {
            throw ValidationError("--threads is a number from 1 to 1024.")
        }
    }

    /// Reads the file; what is wrong with it ends the command.
    func subject() throws -> StepSubject {
        let body = try readJSON(file)
        let isJob = body["dataset"] != nil || body["type"] != nil
        do { return try isJob ? job(body) : model(body) } catch let error as InvalidInput {
            Terminal.complain("vintner: \(error.description)")
            throw Ending.usage.error
        }
    }

    private func job(_ body: JSONValue) throws -> StepSubject {
        guard optimizer == nil, loss == nil else {
            throw ValidationError(
                "A job says itself how it is trained: --optimizer and --loss are for models.")
        }
        let folder = DataFolder(path: data)
        let catalogue = DatasetCatalogue(folder: folder.datasets, systemFolder: Service.systemDatasets)
        var request = try JobRequest.read(
            body, catalogue: catalogue, models: folder.storedModels, cores: HostFacts().usableCores)
        if let batch { request.options.batchSize = batch }
        if let precision { request.options.precision = precision }
        request.options.cutBatch(for: request.trainedGraphs)
        return StepSubject(
            graph: request.graph,
            options: TrainingTask.programOptions(request.dataset, request.model, request.options),
            parts: request.parts, precision: request.options.precision,
            threads: threads ?? request.threads)
    }

    private func model(_ body: JSONValue) throws -> StepSubject {
        let log = ViolationLog()
        let spec = ModelSpec.read(body, at: "/model", data: DataShape(), log: log)
        try log.throwIfAny()
        guard let spec else { throw InvalidInput(log.violations) }
        let (batch, precision) = (batch ?? 64, precision ?? .fp32)
        return StepSubject(
            spec.graph, batch: batch, microBatch: nil, loss: (loss ?? .crossEntropy).kind,
            optimizer: (optimizer ?? .sgd).options, precision: precision,
            threads: threads ?? HostFacts().usableCores)
    }
}

/// A training step that can be compiled.
struct StepSubject {
    let graph: Graph
    let options: Program.Options
    /// How its batch is cut.
    let parts: [Int]
    let precision: TrainOptions.Precision
    let threads: Int

    init(
        graph: Graph, options: Program.Options, parts: [Int], precision: TrainOptions.Precision, threads: Int
    ) {
        (self.graph, self.options, self.parts) = (graph, options, parts)
        (self.precision, self.threads) = (precision, threads)
    }

    /// A step of a model alone.
    ///
    /// - Parameters:
    ///   - graph: The model.
    ///   - batch: Samples of the step.
    ///   - microBatch: Samples that run at once; nil leaves them to the planner.
    ///   - loss: What is minimised.
    ///   - optimizer: What updates the parameters.
    ///   - precision: Of products and activations.
    ///   - threads: Of the step.
    ///   - fuses: Whether operations are joined.
    ///   - evaluates: Whether the step is an evaluation instead, of the whole batch at once.
    init(
        _ graph: Graph, batch: Int, microBatch: Int?, loss: LossKind, optimizer: OptimizerOptions,
        precision: TrainOptions.Precision, threads: Int, fuses: Bool = true, evaluates: Bool = false
    ) {
        var train = TrainOptions()
        (train.batchSize, train.precision, train.microBatchSize) = (batch, precision, microBatch)
        train.choosesMicroBatch = microBatch == nil && !evaluates
        train.cutBatch(for: [graph])
        let parts = evaluates ? [batch] : train.parts(of: batch)
        var rule = optimizer
        rule.accumulates = parts.count > 1
        var lowering = LoweringOptions()
        (lowering.precision, lowering.fuses) = (precision.element, fuses)
        self.init(
            graph: graph,
            options: Program.Options(
                loss: loss, optimizer: rule, trainingBatches: evaluates ? [] : parts,
                evaluationBatches: evaluates ? parts : [], lowering: lowering),
            parts: parts, precision: precision, threads: threads)
    }

    /// Compiles the step for the calling thread, which computes on the subject's threads from now on.
    func compile() throws -> Program {
        ThreadTeam.use(threads)
        do { return try Program(graph, options, on: DNNEngine()) } catch {
            Terminal.complain("vintner: \(error)")
            throw Ending.failed.error
        }
    }
}
