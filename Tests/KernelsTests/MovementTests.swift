import Kernels
import Tensor
import TestSupport
import Testing

@Suite("Movement and broadcasting") struct MovementTests {
    /// Every order of five small axes, and of axes that fill a tile of 16 and do not.
    private static func orders(_ count: Int) -> [[Int]] {
        guard count > 0 else { return [[]] }
        return orders(count - 1).flatMap { order in
            (0...order.count).map { place in
                Array(order[..<place]) + [count - 1] + Array(order[place...])
            }
        }
    }

    @Test(
        "a permutation puts every element in its place",
        arguments: [[7], [19, 33], [3, 1, 40], [5, 17, 2, 16], [2, 3, 4, 5, 6], [1, 32, 1, 48, 1]])
    func permute(extents: [Int]) throws {
        let count = extents.reduce(1, *)
        for element in activationElements {
            let input = rounded(randomFloats(count, seed: 1), to: element)
            for axes in Self.orders(extents.count) {
                let found = try SequenceKernelTests.run(
                    { Movement.permute(extents: extents, axes: axes, element: element) },
                    [stored(input, as: element)], reading: 1, as: element)
                let expected = (0..<count).map { (position: Int) -> Float in
                    var (rest, source) = (position, 0)
                    for axis in axes.reversed() {
                        source += rest % extents[axis] * extents[(axis + 1)...].reduce(1, *)
                        rest /= extents[axis]
                    }
                    return input[source]
                }
                #expect(found == expected, "\(axes) of \(extents)")
            }
        }
    }

    @Test("a large transposition is the same on any team", arguments: activationElements)
    func largePermutation(element: ElementType) throws {
        let (rows, columns) = (203, 175)
        let input = rounded(randomFloats(rows * columns, seed: 2), to: element)
        let found = try SequenceKernelTests.run(
            { Movement.permute(extents: [rows, columns], axes: [1, 0], element: element) },
            [stored(input, as: element)], reading: 1, as: element)
        let expected = (0..<rows * columns).map { (index: Int) -> Float in
            input[index % rows * columns + index / rows]
        }
        #expect(found == expected)
    }

    @Test("slices, their gradients and insertions keep to their columns", arguments: [0..<1, 3..<11, 0..<11])
    func columns(range: Range<Int>) throws {
        let (rows, width, size) = (1700, 11, range.count)
        for element in activationElements {
            let whole = rounded(randomFloats(rows * width, seed: 3), to: element)
            let part = rounded(randomFloats(rows * size, seed: 4), to: element)
            let sliced = try SequenceKernelTests.run(
                { Movement.slice(rows: rows, width: width, range: range, element: element) },
                [stored(whole, as: element)], reading: 1, as: element)
            let expected = (0..<rows * size).map { (index: Int) -> Float in
                whole[index / size * width + range.lowerBound + index % size]
            }
            #expect(sliced == expected)
            func merged(_ rest: (Int) -> Float) -> [Float] {
                (0..<rows * width).map { (index: Int) -> Float in
                    let (row, column) = (index / width, index % width)
                    return range.contains(column) ? part[row * size + column - range.lowerBound] : rest(index)
                }
            }
            let back = try SequenceKernelTests.run(
                { Movement.sliceBackward(rows: rows, width: width, range: range, element: element) },
                [stored(part, as: element)], reading: 1, as: element)
            #expect(back == merged { _ in 0 })
            let inserted = try SequenceKernelTests.run(
                { Movement.insert(rows: rows, width: width, range: range, element: element) },
                [stored(part, as: element), stored(whole, as: element)], reading: 1, as: element)
            #expect(inserted == merged { whole[$0] })
        }
    }

    @Test("a learned token comes before every sequence, and sums its gradient")
    func token() throws {
        let (batch, tokens, width) = (9, 5, 37)
        for element in activationElements {
            let token = randomFloats(width, seed: 5)
            let input = rounded(randomFloats(batch * tokens * width, seed: 6), to: element)
            let found = try SequenceKernelTests.run(
                { Movement.prependToken(batch: batch, tokens: tokens, width: width, element: element) },
                [.floats(token), stored(input, as: element)], reading: 2, as: element)
            let head = rounded(token, to: element)
            var expected: [Float] = []
            for sample in 0..<batch {
                expected += head
                expected += input[sample * tokens * width..<(sample + 1) * tokens * width]
            }
            #expect(found == expected)
            let sum = try SequenceKernelTests.run(
                {
                    Broadcast.sumOverBatch(
                        batch: batch, count: width, stride: (tokens + 1) * width, offset: 0, element: element
                    )
                }, [stored(found, as: element)], reading: 1, as: .float32)
            // Nine equal float32 terms: eight additions, each rounded.
            SequenceKernelTests.expectRounded(
                sum, head.map { Double(batch) * Double($0) }, .float32, within: 9 * 8 * epsilon, "gradient")
        }
    }

    @Test("a positional embedding is added to every sample, and sums its gradient", arguments: [3, 64, 2000])
    func positions(count: Int) throws {
        let batch = 11
        for element in activationElements {
            let input = rounded(randomFloats(batch * count, seed: 7), to: element)
            let table = randomFloats(count, seed: 8)
            let found = try SequenceKernelTests.run(
                { Broadcast.addToBatch(batch: batch, count: count, element: element) },
                [stored(input, as: element), .floats(table)], reading: 2, as: element)
            let expected = input.enumerated().map { (index, value) -> Float in value + table[index % count] }
            #expect(found == rounded(expected, to: element))
            let sum = try SequenceKernelTests.run(
                {
                    Broadcast.sumOverBatch(
                        batch: batch, count: count, stride: count, offset: 0, element: element)
                }, [stored(input, as: element)], reading: 1, as: .float32)
            // float32 sums in ascending order of the samples are exactly these.
            var sums = [Float](repeating: 0, count: count)
            for (index, value) in input.enumerated() { sums[index % count] += value }
            #expect(sum == sums)
        }
    }

    @Test("products and their gradients are exact, in place too", arguments: [5, 20_011])
    func products(count: Int) throws {
        for element in activationElements {
            let left = rounded(randomFloats(count, seed: 9), to: element)
            let right = rounded(randomFloats(count, seed: 10), to: element)
            let upstream = rounded(randomFloats(count, seed: 11), to: element)
            func product(_ a: [Float], _ b: [Float]) -> [Float] {
                rounded(zip(a, b).map { $0 * $1 }, to: element)
            }
            let given = [stored(left, as: element), stored(right, as: element)]
            let found = try SequenceKernelTests.run(
                { Broadcast.multiply(count: count, element: element) }, given, reading: 2, as: element)
            #expect(found == product(left, right))
            let gradients = try KernelRun(
                Broadcast.multiplyBackward(count: count, element: element),
                given + [stored(upstream, as: element)])
            #expect(gradients.values(3, as: element) == product(upstream, right))
            #expect(gradients.values(4, as: element) == product(upstream, left))
            for places in [(0, 1), (1, 0), (2, 0), (2, 1)] {
                let shared = try KernelRun(
                    Broadcast.multiplyBackward(count: count, element: element),
                    given + [stored(upstream, as: element), .sharing(places.0), .sharing(places.1)])
                #expect(shared.values(3, as: element) == product(upstream, right), "\(places)")
                #expect(shared.values(4, as: element) == product(upstream, left), "\(places)")
            }
        }
    }

    @Test("channels are scaled per sample; gradients sum over the area", arguments: [1, 16, 72, 130])
    func channels(channels: Int) throws {
        let (batch, area) = (5, 49)
        for element in activationElements {
            let input = rounded(randomFloats(batch * area * channels, seed: 12), to: element)
            let scale = rounded(randomFloats(batch * channels, seed: 13), to: element)
            let upstream = rounded(randomFloats(input.count, seed: 14), to: element)
            func channel(_ index: Int) -> Int { index / (area * channels) * channels + index % channels }
            let scaled = input.enumerated().map { (index, value) -> Float in value * scale[channel(index)] }
            let back = upstream.enumerated().map { (index, value) -> Float in value * scale[channel(index)] }
            let given = [stored(input, as: element), stored(scale, as: element)]
            let found = try SequenceKernelTests.run(
                {
                    Broadcast.scaleChannels(batch: batch, area: area, channels: channels, element: element)
                }, given, reading: 2, as: element)
            #expect(found == rounded(scaled, to: element))

            let backward = {
                Broadcast.scaleChannelsBackward(
                    batch: batch, area: area, channels: channels, element: element)
            }
            let gradients = given + [stored(upstream, as: element)]
            let data = try SequenceKernelTests.run(backward, gradients, reading: 3, as: element)
            #expect(data == rounded(back, to: element))
            let sums = try SequenceKernelTests.run(backward, gradients, reading: 4, as: element)
            var expected = [Double](repeating: 0, count: scale.count)
            for index in input.indices {
                expected[channel(index)] += Double(input[index]) * Double(upstream[index])
            }
            // 49 products of at most 1: 4 √49 ε times their number is beyond what random rounding adds.
            SequenceKernelTests.expectRounded(sums, expected, element, within: 28 * 7 * epsilon, "scale")
            for place in [0, 2] {
                let shared = try KernelRun(backward(), gradients + [.sharing(place)])
                #expect(shared.values(place, as: element) == data)
                #expect(shared.values(4, as: element) == sums)
            }
        }
    }

    @Test("the mean over the places that count, and its gradient", arguments: [16, 130])
    func paddedMean(channels: Int) throws {
        let (area, lengths) = (9, [Int32(1), 4, 9])
        for element in activationElements {
            let input = rounded(randomFloats(3 * area * channels, seed: 17), to: element)
            let kernel = Broadcast.areaMean(
                batch: 3, area: area, channels: channels, element: element, isPadded: true)
            let run = try KernelRun(kernel, [stored(input, as: element), .unwritten, .integers(lengths)])
            var expected = [Double](repeating: 0, count: 3 * channels)
            func isCounted(_ index: Int) -> Bool {
                index % (area * channels) / channels < Int(lengths[index / (area * channels)])
            }
            for index in input.indices where isCounted(index) {
                let sample = index / (area * channels)
                expected[sample * channels + index % channels] +=
                    Double(input[index]) / Double(lengths[sample])
            }
            // 8 additions of numbers below 9, divided by 9: 4 √8 ε.
            SequenceKernelTests.expectRounded(
                run.values(1, as: element), expected, element, within: 12 * epsilon, "mean")
            let upstream = rounded(randomFloats(3 * channels, seed: 18), to: element)
            let backward = Broadcast.areaMeanBackward(
                batch: 3, area: area, channels: channels, element: element, isPadded: true)
            let back = try KernelRun(
                backward, [stored(upstream, as: element), .unwritten, .integers(lengths)])
            let spread = input.indices.map { (index: Int) -> Float in
                let sample = index / (area * channels)
                let share = 1 / Float(lengths[sample])
                return isCounted(index) ? upstream[sample * channels + index % channels] * share : 0
            }
            #expect(back.values(1, as: element).map(abs) == rounded(spread, to: element).map(abs))
        }
    }

    @Test("tokens before the padding, at least one; padding between others counts")
    func lengths() throws {
        let ids: [Int32] = [7, 7, 7, 7, 1, 7, 2, 7, 7, 1, 1, 2]
        let run = try KernelRun(Embedding.lengths(batch: 3, tokens: 4, padding: 7), [.integers(ids)])
        #expect(run.integers(1) == [1, 3, 4])
    }

    @Test("the mean over an area, and its gradient", arguments: [1, 16, 72, 130])
    func mean(channels: Int) throws {
        let (batch, area) = (7, 49)
        for element in activationElements {
            let input = rounded(randomFloats(batch * area * channels, seed: 15), to: element)
            let found = try SequenceKernelTests.run(
                { Broadcast.areaMean(batch: batch, area: area, channels: channels, element: element) },
                [stored(input, as: element)], reading: 1, as: element)
            var expected = [Double](repeating: 0, count: batch * channels)
            for index in input.indices {
                let place = index / (area * channels) * channels + index % channels
                expected[place] += Double(input[index]) / Double(area)
            }
            // 48 additions of numbers below 49, divided by 49: 4 √48 ε.
            SequenceKernelTests.expectRounded(found, expected, element, within: 28 * epsilon, "mean")
            let upstream = rounded(randomFloats(batch * channels, seed: 16), to: element)
            let back = try SequenceKernelTests.run(
                {
                    Broadcast.areaMeanBackward(batch: batch, area: area, channels: channels, element: element)
                }, [stored(upstream, as: element)], reading: 1, as: element)
            let spread = input.indices.map { (index: Int) -> Float in
                upstream[index / (area * channels) * channels + index % channels] * (1 / Float(area))
            }
            #expect(back == rounded(spread, to: element))
        }
    }
}
