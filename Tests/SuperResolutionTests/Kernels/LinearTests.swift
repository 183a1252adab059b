import Testing

@testable import SuperResolution

@Suite struct LinearTests {
  @Test func multipliesAndAddsTheBiasAndTheResidual() {
    let linear = Linear(weight: [1, 2, 3, 4, 5, 6], bias: [10, 20], outputs: 2, inputs: 3)
    let x: [Float] = [1, 0, -1, 2, 2, 2]
    var y: [Float] = [100, 200, 300, 400]
    y.withUnsafeMutableBufferPointer { y in
      guard let start = y.baseAddress else { return }
      linear.apply(rows: 2, x, stride: 3, to: start, stride: 2, then: .add(start, stride: 2))
    }
    #expect(y == [108, 218, 322, 450])
  }
}
