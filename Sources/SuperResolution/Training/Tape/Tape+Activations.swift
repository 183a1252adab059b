import CKernels

extension Tape {
  /// Returns the exact GELU, `x · Φ(x)`.
  ///
  /// - Parameter x: the result of an operation whose backward step does not read it, used nowhere
  ///   else. Its values are replaced by the derivatives.
  func gelu(consuming x: Variable) -> Variable {
    apply(consuming: x) { ck_gelu_and_slope($0, $1, $2) }
  }

  /// Returns `x`, or `slope · x` below zero; slope 0 gives the ReLU. Consumes `x` as `gelu` does.
  func leakyReLU(consuming x: Variable, slope: Float) -> Variable {
    apply(consuming: x) { x in
      let derivative: Float = x > 0 ? 1 : slope
      return (x * derivative, derivative)
    }
  }

  /// Returns `1 / (1 + e⁻ˣ)`. Consumes `x` as `gelu` does.
  func sigmoid(consuming x: Variable) -> Variable {
    apply(consuming: x) { x in
      let value = 1 / (1 + exponential(-x))
      return (value, value * (1 - value))
    }
  }

  /// Applies a function of single elements. Consumes `x` as `gelu` does.
  func apply(_ function: ElementFunction, consuming x: Variable) -> Variable {
    switch function {
    case .relu: leakyReLU(consuming: x, slope: 0)
    case .leakyReLU(let slope): leakyReLU(consuming: x, slope: slope)
    case .gelu: gelu(consuming: x)
    case .sigmoid: sigmoid(consuming: x)
    case .silu:
      apply(consuming: x) { x in
        let sigmoid = 1 / (1 + exponential(-x))
        return (x * sigmoid, sigmoid * (1 + x * (1 - sigmoid)))
      }
    case .mish:
      apply(consuming: x) { x in
        // tanh(ln(1 + n)) = (n² + 2 n) / (n² + 2 n + 2).
        let n = exponential(min(x, 40))
        let share = n * (n + 2) / (n * (n + 2) + 2)
        return (x * share, share + x * (1 - share * share) / (1 + exponential(-x)))
      }
    case .tanh:
      apply(consuming: x) { x in
        let value = 2 / (1 + exponential(-2 * x)) - 1
        return (value, 1 - value * value)
      }
    case .offset(let offset): apply(consuming: x) { ($0 + offset, 1) }
    }
  }

  @inline(__always)
  private func apply(
    consuming x: Variable, _ function: (Float) -> (value: Float, derivative: Float)
  ) -> Variable {
    apply(consuming: x) { source, target, count in
      for index in 0..<count {
        let (value, derivative) = function(source[index])
        target[index] = value
        source[index] = derivative
      }
    }
  }

  /// - Parameter function: writes the values for the first array to the second, and replaces the
  ///   first by the derivatives.
  @inline(__always)
  private func apply(
    consuming x: Variable,
    _ function: (UnsafeMutablePointer<Float>, UnsafeMutablePointer<Float>, Int) -> Void
  ) -> Variable {
    let y = result(rows: x.rows, columns: x.columns, needsGradient: x.needsGradient)
    let derivatives = x.buffer()
    let count = y.count
    function(derivatives.pointer, y.values, count)
    record(y) { gradient in
      let (g, derivative) = (gradient.pointer, derivatives.pointer)
      for index in 0..<count { g[index] *= derivative[index] }
      x.add(gradient: gradient)
    }
    return y
  }
}
