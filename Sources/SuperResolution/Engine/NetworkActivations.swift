import Imaging
import Transform

/// A network's activations on given pictures, for calibration.
///
/// The network is run in full precision: without quantizers of activations, with the weights it has.
public struct NetworkActivations: ActivationSource {
  /// The network that is run.
  package let network: SuperResolutionNetwork
  /// What it is run on, one after the other.
  package let pictures: [Picture]

  /// A source of the activations that `pictures`, one a sample, give.
  ///
  /// - Throws: `ModelError` when a picture has another count of channels than the network.
  public init(network: SuperResolutionNetwork, pictures: [Picture]) throws {
    for picture in pictures { try network.check(picture) }
    self.network = network
    self.pictures = pictures
  }

  /// Where the network can be looked at, in the order of the forward pass.
  public var sites: [ActivationSite] { network.sites }
  /// The number of pictures.
  public var sampleCount: Int { pictures.count }

  public func run(
    sample: Int,
    observe: (_ site: Int, _ values: UnsafeBufferPointer<Float>, _ columns: Int) throws -> Void
  ) throws {
    try withoutActuallyEscaping(observe) { observe in
      var context = ForwardContext(threads: 1)
      context.observer = observe
      _ = try network.run(pictures[sample], context)
    }
  }
}
