internal import Graph

/// Where the gradients of activations lie while the backward pass is lowered.
///
/// One buffer may hold several gradients of the same value (an addition hands its own to both summands), so
/// what still has to be read is counted: only a buffer with one reader left may be written over.
struct GradientTable {
    /// A gradient, or two that have yet to be added.
    enum Entry {
        case single(BufferID)
        case sum(BufferID, BufferID)
    }

    private var entries: [Gradients.GradientID: Entry] = [:]
    private var readers: [BufferID: Int] = [:]

    /// Notes that a gradient lies in a buffer.
    mutating func set(_ id: Gradients.GradientID, _ buffer: BufferID) {
        entries[id] = .single(buffer)
        readers[buffer, default: 0] += 1
    }

    mutating func set(_ id: Gradients.GradientID, sumOf left: BufferID, _ right: BufferID) {
        entries[id] = .sum(left, right)
        readers[left, default: 0] += 1
        readers[right, default: 0] += 1
    }

    /// Takes a gradient out; its buffers have one reader less.
    mutating func take(_ id: Gradients.GradientID) -> Entry? {
        guard let entry = entries.removeValue(forKey: id) else { return nil }
        switch entry {
        case .single(let buffer): readers[buffer, default: 1] -= 1
        case .sum(let left, let right):
            readers[left, default: 1] -= 1
            readers[right, default: 1] -= 1
        }
        return entry
    }

    /// Whether nobody else will read a buffer whose gradient has been taken.
    func isFree(_ buffer: BufferID) -> Bool { readers[buffer, default: 0] == 0 }
}
