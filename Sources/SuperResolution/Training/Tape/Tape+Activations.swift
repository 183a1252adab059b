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
