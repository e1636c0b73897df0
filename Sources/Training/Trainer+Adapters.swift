internal import Graph
internal import Kernels
internal import Plan
internal import Tensor

/// Reading what a run has learned.
extension Trainer {
    /// A part of a parameter, in PyTorch's order.
    func read(
        _ id: Graph.ParameterID, _ part: ParameterStore.Part = .value
    ) throws(TrainingError) -> [Float] {
        try planning { () throws(PlanError) in try program.read(id, part) }
    }

    /// A parameter with the product of its adapter added, where it has one.
    func merged(_ id: Graph.ParameterID) throws(TrainingError) -> [Float] {
        let graph = program.graph
        let weight = try read(id)
        guard let adapters = task.options.adapters,
            let adapter = graph.adapters.first(where: { $0.weight == id })
        else { return weight }
        let (down, up) = (try read(adapter.down), try read(adapter.up))
        let shape = graph[id].shape
        let product = LowRankProduct(
            outputs: shape[0], inputs: shape[1], rank: adapters.rank, factor: adapters.scale)
        return try planning { () throws(PlanError) in
            do throws(KernelError) { return try product.merged(weight, down: down, up: up) } catch {
                throw .kernel(error)
            }
        }
    }
}
