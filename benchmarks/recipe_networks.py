"Small networks that stand side by side: each parameter has a first axis of networks, so that one operation trains them all"
import math, torch
from torch import nn

everything = slice(None)

class Linears(nn.Module):
    "A linear layer of each network, with PyTorch's start"
    def __init__(self, networks, inputs, outputs):
        super().__init__()
        reach = 1/math.sqrt(inputs)
        self.weight = nn.Parameter(torch.empty(networks, inputs, outputs).uniform_(-reach, reach))
        self.bias = nn.Parameter(torch.empty(networks, 1, outputs).uniform_(-reach, reach))

    def forward(self, x, which=everything): return torch.baddbmm(self.bias[which], x, self.weight[which])

class Dropouts(nn.Module):
    "Dropout with a probability of each network"
    def __init__(self, probabilities):
        super().__init__()
        self.p = torch.tensor(probabilities)[:,None,None]

    def forward(self, x): return x*(torch.rand_like(x) >= self.p)/(1 - self.p) if self.training else x

class Perceptrons(nn.Module):
    "One hidden layer, or none"
    def __init__(self, dropout, columns, hidden=64):
        super().__init__()
        networks = len(dropout)
        self.first = Linears(networks, columns, hidden) if hidden else None
        self.dropout = Dropouts(dropout)
        self.last = Linears(networks, hidden or columns, 2)

    def forward(self, x, which=everything):
        if self.first is not None: x = self.dropout(self.first(x, which).relu())
        return self.last(x, which)

class Bags(nn.Module):
    "Mean of word vectors, and one hidden layer"
    def __init__(self, dropout, words, size=16):
        super().__init__()
        self.words = words
        self.vectors = nn.Parameter(torch.randn(len(dropout), words, size))
        self.dropout = Dropouts(dropout)
        self.layers = Perceptrons(dropout, size, 32)

    def forward(self, x, which=everything):
        vectors = self.vectors[which]
        start = torch.arange(len(vectors))[:,None,None]*self.words
        # Word 0 is none: number 0 stands for it in all networks, and the first network's own word 0 does not occur
        numbers = torch.where(x > 0, x + start, 0).flatten(0, 1)
        means = nn.functional.embedding_bag(numbers, vectors.flatten(0, 1), mode='mean', padding_idx=0)
        return self.layers(self.dropout(means.view(*x.shape[:2], -1)), which)

class Convolutions(nn.Module):
    "Two layers of convolutions over images of 28 x 28 pixels: 8 of 4 x 4 pixels, and 16 of 3 x 3 results, every second one"
    def __init__(self, dropout):
        super().__init__()
        networks = len(dropout)
        self.first = Linears(networks, 4*4, 8)
        self.second = Linears(networks, 3*3*8, 16)
        self.dropout = Dropouts(dropout)
        self.last = Linears(networks, 4*4*16, 2)

    def forward(self, x, which=everything):
        networks,n = x.shape[:2]
        patches = x.view(networks, n, 28, 28).unfold(2, 4, 4).unfold(3, 4, 4)
        maps = self.first(patches.reshape(networks, n*49, 16), which).relu().view(networks, n, 7, 7, 8)
        patches = nn.functional.pad(maps, (0, 0, 1, 1, 1, 1)).unfold(2, 3, 2).unfold(3, 3, 2)
        maps = self.second(patches.reshape(networks, n*16, 72), which).relu().view(networks, n, 256)
        return self.last(self.dropout(maps), which)

def build(x, words, dropout, linear):
    "Networks for rows like `x`, one for each of `dropout`"
    if x.dtype == torch.int64: return Bags(dropout, words)
    if x.ndim > 2: return Convolutions(dropout)
    return Perceptrons(dropout, x.shape[1], 0 if linear else 64)

class AdamW:
    "AdamW with a learning rate and a weight decay of each network; `pace` is the share of the learning rate that is due"
    def __init__(self, params, lr, weight_decay):
        self.params = list(params)
        self.lr = torch.tensor(lr)
        self.weight_decay = torch.tensor(weight_decay)
        self.pace = 1.
        self.steps = 0
        self.mean = [torch.zeros_like(p) for p in self.params]
        self.square = [torch.zeros_like(p) for p in self.params]

    @torch.no_grad()
    def step(self):
        self.steps += 1
        lr = self.lr*self.pace
        for p,mean,square in zip(self.params, self.mean, self.square):
            mean.lerp_(p.grad, .1)
            square.mul_(.999).addcmul_(p.grad, p.grad, value=.001)
            size = (square/(1 - .999**self.steps)).sqrt_().add_(1e-8)
            per_network = [-1] + [1]*(p.ndim - 1)
            p.mul_((1 - lr*self.weight_decay).view(per_network))
            p.addcdiv_(mean*(-lr/(1 - .9**self.steps)).view(per_network), size)

    def zero_grad(self):
        for p in self.params: p.grad = None
