internal import Tensor

/// A layer whose batch is cut into slices, computed one after the other in one scratchpad.
///
/// Gradients of parameters are summed slice by slice, in the order of the samples: always the same bits.
final class SlicedConvolution: LayerKernel {
    let implementation: String
    let operands: [Operand]
    let layouts: [TensorLayout]
    let scratchpad: Int?
    let isReference = false
    private let slices: [any LayerKernel]
    /// Where each slice's part of an operand begins; no entry for what all slices read.
    private let offsets: [Int: [Int]]
    private let sums: [Sum]

    /// What every slice but the first computes into the scratchpad, to be added to the operand.
    private struct Sum {
        let operand: Int
        let offset: Int
        let add: any PreparedKernel
    }

    /// Puts slices together that follow each other in the batch.
    ///
    /// `whole` are the layouts, over all samples, of the operands that the slices divide among themselves.
    /// All others must lie in the same layout for all slices; those that are written are summed.
    ///
    /// - Throws: `KernelError` where the slices want different layouts.
    init(_ slices: [any LayerKernel], whole: [Int: TensorLayout]) throws(KernelError) {
        precondition(!slices.isEmpty, "no slices")
        let first = slices[0]
        let count = first.scratchpad ?? first.operands.count
        var (operands, layouts): ([Operand], [TensorLayout]) = ([], [])
        var offsets: [Int: [Int]] = [:]
        var sums: [Sum] = []
        var scratch =
            slices.map { kernel in kernel.scratchpad.map { kernel.operands[$0].byteCount } ?? 0 }
            .max() ?? 0
        for operand in 0..<count {
            let access = first.operands[operand].access
            let layout = whole[operand] ?? first.layouts[operand]
            if whole[operand] != nil {
                var end = 0
                offsets[operand] = slices.map { kernel in
                    defer { end += kernel.operands[operand].byteCount }
                    return end
                }
                precondition(end == layout.byteCount, "slices of \(end) bytes in \(layout.byteCount)")
            } else {
                guard slices.allSatisfy({ $0.layouts[operand] == layout }) else {
                    throw KernelError(action: "cut a convolution", reason: "its slices differ in layout")
                }
                if access == .write {
                    let offset = Primitive.aligned(scratch)
                    sums.append(
                        Sum(operand: operand, offset: offset, add: Elementwise.add(count: layout.paddedCount))
                    )
                    scratch = offset + layout.byteCount
                }
            }
            operands.append(Operand(layout.byteCount, access))
            layouts.append(layout)
        }
        scratchpad = scratch > 0 ? count : nil
        if scratch > 0 {
            operands.append(Operand(scratch, .readWrite))
            layouts.append(try .bytes(scratch))
        }
        implementation = "\(first.implementation) in \(slices.count) slices"
        (self.operands, self.layouts, self.slices) = (operands, layouts, slices)
        (self.offsets, self.sums) = (offsets, sums)
    }

    func bind(_ operand: Int, to address: UnsafeMutableRawPointer) throws(KernelError) {
        if operand == scratchpad {
            for slice in slices {
                if let own = slice.scratchpad { try unsafe slice.bind(own, to: address) }
            }
            for sum in sums {
                for slice in slices.dropFirst() {
                    try unsafe slice.bind(sum.operand, to: address + sum.offset)
                }
                try unsafe sum.add.bind(1, to: address + sum.offset)
            }
        } else if let sum = sums.first(where: { $0.operand == operand }) {
            try unsafe slices[0].bind(operand, to: address)
            try unsafe sum.add.bind(0, to: address)
            try unsafe sum.add.bind(2, to: address)
        } else {
            for (index, slice) in slices.enumerated() {
                try unsafe slice.bind(operand, to: address + (offsets[operand]?[index] ?? 0))
            }
        }
    }

    func run() throws(KernelError) {
        try slices[0].run()
        for slice in slices.dropFirst() {
            try slice.run()
            for sum in sums { try sum.add.run() }
        }
    }
}
