import Testing

@testable import SuperResolution

@Suite struct OptimizerTests {
  /// The expected values are those of `torch.optim.Adam(lr=0.1, betas=(0.9, 0.99))` for the same
  /// gradients.
  @Test func adamMatchesPyTorch() {
    var store = ParameterStore()
    store.add("a", [1, -2, 0.5], group: .biases)
    store.add("b", [7], group: .norms)
    let adam = Adam(rates: [.biases: 0.1])
    let gradients: [[Float]] = [[1, -2, 0.25, 5], [0.5, 3, 0, 5], [-1, 0.125, 4, 5]]
    for (index, gradient) in gradients.enumerated() {
      store.gradients = gradient
      adam.update(&store, number: index + 1, factor: 1)
    }
    let expected: [Float] = [0.795_576_93, -1.946_129_2, 0.266_156_08]
    #expect(zip(store.values, expected).allSatisfy { abs($0 - $1) < 1e-6 })
    #expect(store.values[3] == 7)
  }

  @Test func stepsScaleWithParameterUnit() {
    var store = ParameterStore()
    store.add("a", [1], group: .activationBounds, unit: 20)
    store.gradients = [-1e-3]
    Adam(rates: [.activationBounds: 0.01]).update(&store, number: 1, factor: 0.5)
    #expect(abs(store.values[0] - 1.1) < 1e-5)
  }

  @Test func gradientsAreClippedTogether() {
    var store = ParameterStore()
    store.add("a", [0, 0], group: .biases)
    store.gradients = [3, 4]
    var adam = Adam(rates: [.biases: 1])
    adam.largestGradientNorm = 1
    #expect(adam.update(&store, number: 1, factor: 1) == 5)
    #expect(abs(store.firstMoments[0] - 0.06) < 1e-6 && abs(store.firstMoments[1] - 0.08) < 1e-6)
  }

  @Test func rateFollowsHalfCosine() {
    let schedule = CosineSchedule(stepCount: 4, finalFactor: 0.2)
    let factors = (1...6).map(schedule.factor)
    #expect(factors[0] == 1 && abs(factors[2] - 0.6) < 1e-6)
    #expect(abs(factors[4] - 0.2) < 1e-6 && factors[5] == factors[4])
    #expect(factors[1] > factors[2] && factors[2] > factors[3])
  }

  @Test func sumDoesNotDependOnArrivalOrder() {
    let arrays: [[Float]] = [[1e8, 1], [1, 1e8], [-1e8, 3], [1, -1e8]]
    func sum(_ order: [Int]) -> [Float] {
      let sum = OrderedSum(count: 2)
      for number in order {
        var array = sum.takeZeros()
        for index in 0..<2 { array[index] += arrays[number][index] }
        sum.add(array, number: number)
      }
      return sum.take()
    }
    let expected = sum([0, 1, 2, 3])
    #expect(expected == [1, 0])
    #expect(sum([3, 2, 1, 0]) == expected && sum([2, 0, 3, 1]) == expected)
  }
}
