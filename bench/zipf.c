/* Rejection-inversion sampling: W. Hörmann and G. Derflinger, "Rejection-inversion
 * to generate variates from monotone discrete distributions", ACM TOMACS 6(3),
 * 1996. Exact for every exponent >= 0, also 1 and above, without a table: a
 * point is drawn under the integral H of h(x) = x^-s, and its rank is accepted
 * at once where the rectangle of the rank covers it. It needs about 1.1 draws.
 *
 * H(x) = (x^(1-s) - 1) / (1-s), and log x for s = 1. Both are written with
 * expm1/log1p of (1-s) log x, so that nothing cancels near s = 1. */
#include "zipf.h"

#include "base.h"

#include <math.h>

/* expm1(x) / x, also at 0. */
static double
expm1_over(double x)
{
    if (fabs(x) > 1e-8)
        return expm1(x) / x;
    return 1.0 + x * 0.5;
}

/* log1p(x) / x, also at 0. */
static double
log1p_over(double x)
{
    if (fabs(x) > 1e-8)
        return log1p(x) / x;
    return 1.0 - x * 0.5;
}

static double
h(const struct zipf *zipf, double x)
{
    return exp(-zipf->exponent * log(x));
}

static double
h_integral(const struct zipf *zipf, double x)
{
    double log_x = log(x);
    return expm1_over((1.0 - zipf->exponent) * log_x) * log_x;
}

static double
h_integral_inverse(const struct zipf *zipf, double y)
{
    double t = y * (1.0 - zipf->exponent);
    if (t < -1.0)
        t = -1.0; /* rounding only */
    return exp(log1p_over(t) * y);
}

void
zipf_init(struct zipf *zipf, uint64_t n, double exponent)
{
    BENCH_CHECK(n >= 1);
    BENCH_CHECK(exponent >= 0.0);
    zipf->n = n;
    zipf->exponent = exponent;
    zipf->h_integral_x1 = h_integral(zipf, 1.5) - 1.0;
    zipf->h_integral_n = h_integral(zipf, (double)n + 0.5);
    zipf->shortcut = 2.0 - h_integral_inverse(zipf, h_integral(zipf, 2.5) - h(zipf, 2.0));
}

uint64_t
zipf_next(const struct zipf *zipf, struct rng *rng)
{
    if (zipf->exponent == 0.0)
        return 1 + rng_below(rng, zipf->n);
    for (;;) {
        double u = zipf->h_integral_n + rng_unit(rng) * (zipf->h_integral_x1 - zipf->h_integral_n);
        double x = h_integral_inverse(zipf, u);
        double k = floor(x + 0.5);
        if (k < 1.0)
            k = 1.0;
        if (k > (double)zipf->n)
            k = (double)zipf->n;
        if (k - x <= zipf->shortcut || u >= h_integral(zipf, k + 0.5) - h(zipf, k))
            return (uint64_t)k;
    }
}
