import CKernels
import Foundation
import TestSupport
import Testing

@testable import SuperResolution

/// The training kernels, compared with their definitions in double precision.
@Suite struct DerivativeTests {
  @Test(arguments: VectorLevels.available)
  func geluSlopeMatchesDefinition(level: UInt32) {
    let inputs = stride(from: Float(-12), through: 12, by: 0.0137).map { $0 }
    var (slopes, values) = (inputs, [Float](repeating: 0, count: inputs.count))
    VectorLevels.at(level) {
      slopes.write { x in values.write { ck_gelu_and_slope(x, $0, inputs.count) } }
    }
    for (index, x) in inputs.map(Double.init).enumerated() {
      let distribution = 0.5 * erfc(-x / 2.0.squareRoot())
      let density = exp(-x * x / 2) / (2 * Double.pi).squareRoot()
      #expect(abs(Double(values[index]) - x * distribution) <= 1e-6 * max(1, abs(x)))
      #expect(abs(Double(slopes[index]) - (distribution + x * density)) <= 1e-6)
    }
  }

  @Test(arguments: VectorLevels.available, [1, 7, 16, 60, 256])
  func biasedSoftmaxMatchesDefinition(level: UInt32, columns: Int) {
    var random = SplitMix(seed: UInt64(columns))
    let rows = 3
    let (x, bias) = (random.normals(rows * columns), random.normals(rows * columns))
    let mask = (0..<rows * columns).map { $0 % columns % 2 == 1 ? Float(-100) : 0 }
    for hasMask in [false, true] {
      var y = x
      VectorLevels.at(level) {
        y.write { ck_biased_softmax($0, bias, hasMask ? mask : nil, rows, columns) }
      }
      for row in 0..<rows {
        let places = row * columns..<(row + 1) * columns
        let powers = places.map { exp(Double(x[$0] + bias[$0] + (hasMask ? mask[$0] : 0))) }
        let sum = powers.reduce(0, +)
        for (place, power) in zip(places, powers) {
          #expect(abs(Double(y[place]) - power / sum) <= 1e-6)
        }
      }
    }
  }

  @Test(arguments: VectorLevels.available, [1, 7, 16, 60, 256])
  func softmaxGradientMatchesDefinition(level: UInt32, columns: Int) {
    var random = SplitMix(seed: UInt64(columns))
    let rows = 3
    let p = random.normals(rows * columns).map { abs($0) / Float(columns) }
    let (given, before) = (random.normals(rows * columns), random.normals(rows * columns))
    var (g, other, sum) = (given, given, before)
    VectorLevels.at(level) {
      g.write { g in sum.write { ck_softmax_gradient(p, g, rows, columns, $0) } }
      other.write { ck_softmax_gradient(p, $0, rows, columns, nil) }
    }
    #expect(g == other)
    for row in 0..<rows {
      let places = row * columns..<(row + 1) * columns
      let mean = places.reduce(0.0) { $0 + Double(p[$1]) * Double(given[$1]) }
      for place in places {
        let expected = Double(p[place]) * (Double(given[place]) - mean)
        #expect(abs(Double(g[place]) - expected) <= 1e-6)
        #expect(abs(Double(sum[place]) - Double(before[place]) - expected) <= 1e-6)
      }
    }
  }

  @Test(
    arguments: VectorLevels.available,
    [(1, 1, 1), (3, 1, 5), (16, 4, 3), (20, 5, 6), (37, 2, 2)])
  func depthwiseGradientMatchesSums(level: UInt32, size: (channels: Int, height: Int, width: Int)) {
    let (channels, height, width) = size
    var random = SplitMix(seed: UInt64(channels))
    let count = channels * height * width
    let (x, g) = (random.normals(count), random.normals(count))
    let before = random.normals(9 * channels)
    var sum = before
    VectorLevels.at(level) {
      sum.write { ck_depthwise_weight_gradient(channels, height, width, x, g, $0) }
    }
    for channel in 0..<channels {
      for tap in 0..<9 {
        var expected = Double(before[channel * 9 + tap])
        for row in 0..<height {
          for column in 0..<width {
            let (other, beside) = (row + tap / 3 - 1, column + tap % 3 - 1)
            guard (0..<height).contains(other), (0..<width).contains(beside) else { continue }
            expected +=
              Double(x[(other * width + beside) * channels + channel])
              * Double(g[(row * width + column) * channels + channel])
          }
        }
        #expect(abs(Double(sum[channel * 9 + tap]) - expected) < 1e-4)
      }
    }
  }
}
