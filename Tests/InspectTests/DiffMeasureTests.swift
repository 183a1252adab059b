import Formats
import TestSupport
import Testing

@testable import Inspect

/// The measures of a change, compared with plain definitions.
@Suite struct DiffMeasureTests {
  private func difference(
    _ a: Tensor, _ b: Tensor, _ change: (inout DiffReport.Options) throws -> Void = { _ in }
  ) throws -> TensorDifference? {
    var options = DiffReport.Options()
    options.threads = 2
    try change(&options)
    return try DiffReport(
      TensorArchive(["w": a]), TensorArchive(["w": b]), fileA: "a", fileB: "b", options: options
    ).changed.first
  }

  @Test func normalizedMeanSquareMatchesDefinition() throws {
    let numbers = try #require(
      try difference(.float32([3], [3, 4, 0]), .float32([3], [3, 5, 2]))?.numbers)
    #expect(abs(numbers.normalizedMeanSquare - 5.0 / 25) < 1e-15)
    #expect(numbers.maximumRelative == .infinity)
    let fromZero = try #require(
      try difference(.float32([2], [0, 0]), .float32([2], [0, 1]))?.numbers)
    #expect(fromZero.normalizedMeanSquare == .infinity)
    #expect(fromZero.signalToNoise == -.infinity)
  }

  @Test(arguments: [0, 1, 2, 7, 1000])
  func unitsInLastPlaceCountStepsOfType(_ steps: Int) throws {
    func advance<Number: BinaryFloatingPoint>(_ start: Number) -> Number {
      (0..<steps).reduce(start) { value, _ in value.nextUp }
    }
    func check<Number: BinaryFloatingPoint & BitwiseCopyable>(_ type: ElementType, _ start: Number)
      throws
    {
      let found = try difference(
        .of(type, [2], [start, 1]), .of(type, [2], [advance(start), 1])
      )?.numbers?.maximumUnitsInLastPlace
      // 0 and −0 are one number, so crossing zero takes no step of its own.
      #expect(found == (steps == 0 ? nil : UInt64(steps)), "\(type) from \(start)")
    }
    for start in [1.0, -1.0, 0.0, -0x1p-1070, 1e300] { try check(.float64, start) }
    for start in [1.0, -1.0, 0.0, -0x1p-147, 1e38] { try check(.float32, Float(start)) }
    for start in [1.0, -1.0, 0.0, -0x1p-22, 1024] { try check(.float16, Float16(start)) }
    let pattern: UInt16 = 0x3F80
    let bfloat = try difference(
      .of(.bfloat16, [1], [pattern]), .of(.bfloat16, [1], [pattern + UInt16(steps)]))
    #expect(
      bfloat?.numbers?.maximumUnitsInLastPlace == (steps == 0 ? nil : UInt64(steps)))
  }

  @Test func unitsInLastPlaceNeedOneType() throws {
    let a = try Tensor.of(.float16, [1], [1 as Float16])
    #expect(try difference(a, .float32([1], [2]))?.numbers?.maximumUnitsInLastPlace == nil)
    let i = try Tensor.of(.int32, [1], [1 as Int32])
    let j = try Tensor.of(.int32, [1], [2 as Int32])
    #expect(try difference(i, j)?.numbers?.maximumUnitsInLastPlace == nil)
    let extremes = try difference(
      .of(.float64, [1], [-Double.greatestFiniteMagnitude]),
      .of(.float64, [1], [Double.greatestFiniteMagnitude]))
    let largest: UInt64 = 0x7FEF_FFFF_FFFF_FFFF
    #expect(extremes?.numbers?.maximumUnitsInLastPlace == largest + largest)
  }

  @Test func histogramCountsPowersOfTwo() throws {
    let histogram = try #require(
      try difference(
        .float32([6], [0, 0, 0, 0, 0, 0]), .float32([6], [1, 1.5, -1.9, 2, 0.25, 0])
      )?.numbers?.histogram)
    #expect(histogram.lowestExponent == -2)
    #expect(histogram.counts == [1, 0, 3, 1])
    // Values too small for the range of the bins are counted in the first bin.
    let wide = try #require(
      try difference(
        .of(.float64, [3], [0.0, 0, 0]),
        .of(.float64, [3], [1.0, 0x1p-300, Double.leastNonzeroMagnitude])
      )?.numbers?.histogram)
    #expect(wide.counts.count == 32)
    #expect(wide.lowestExponent == -31)
    #expect(wide.counts.first == 2 && wide.counts.last == 1)
  }

  @Test func strictNaNDiffersFromItself() throws {
    let tensor = try Tensor.float32([3], [1, .nan, 2])
    #expect(try difference(tensor, tensor) == nil)
    let strict = try difference(tensor, tensor) { $0.distinguishesNaN = true }
    #expect(strict?.numbers?.changedElementCount == 1)
    #expect(strict?.numbers?.nonFiniteDifferenceCount == 1)
    let none = try Tensor.float32([2], [1, .infinity])
    #expect(try difference(none, none) { $0.distinguishesNaN = true } == nil)
  }

  @Test func conditionNumbersAreIncludedOnRequest() throws {
    let a = try Tensor.diagonal([4, 1], rows: 2, columns: 2)
    let b = try Tensor.diagonal([4, 2], rows: 2, columns: 2)
    #expect(try difference(a, b)?.conditionNumbers == nil)
    let numbers = try #require(
      try difference(a, b) { $0.includesConditionNumbers = true }?.conditionNumbers)
    #expect(abs(numbers.a - 4) < 1e-12 && abs(numbers.b - 2) < 1e-12)
    let vector = try difference(.float32([2], [1, 2]), .float32([2], [1, 3])) {
      $0.includesConditionNumbers = true
    }
    #expect(vector != nil && vector?.conditionNumbers == nil)
  }

  /// The tensors span several pieces, whose sums are joined in order for any number of threads.
  @Test func measuresDoNotDependOnThreads() throws {
    var generator = SplitMix(seed: 3)
    let count = 300_001
    let values = (0..<count).map { _ in generator.nextNormal() }
    let others = values.map { $0 + 1e-3 * generator.nextNormal() }
    let shape = try #require(Shape([count]))
    let (a, b) = (try Tensor.float32(shape, values), try Tensor.float32(shape, others))
    let one = try #require(try difference(a, b) { $0.threads = 1 }?.numbers)
    for threads in [2, 3, 8] {
      #expect(try difference(a, b) { $0.threads = threads }?.numbers == one)
    }
    let noise = zip(values, others).reduce(0.0) { sum, pair in
      let error = Double(pair.1) - Double(pair.0)
      return sum + error * error
    }
    #expect(abs(one.rootMeanSquare / (noise / Double(count)).squareRoot() - 1) < 1e-12)
    #expect(one.histogram?.counts.reduce(0, +) == one.changedElementCount)
  }
}
